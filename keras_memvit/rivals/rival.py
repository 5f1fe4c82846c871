"""What all rivals have in common: a backbone of their own, and a head."""

import keras
import numpy as np
from keras import ops


class Rival(keras.Model):
    """`W pool(backbone(x)) + b`: a head on what a backbone gives.

    A method is a subclass that changes what `features` computes or, in `build`,
    what of the backbone is trained; by itself the backbone is frozen. It is for
    comparison, and is not saved.

    Args:
        backbone: a `ViTBackbone` that nobody else uses.
        num_classes: int.

    Call arguments:
        images: `(B, H, W, 3)` in [0, 255].

    Returns:
        Logits `(B, num_classes)`.
    """

    needs_class_token = False  # of the backbone, to replace it

    def __init__(self, backbone, num_classes):
        super().__init__(name="baseline")
        self.backbone = backbone
        self.head = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="head",
        )

    def build(self, input_shape):
        self.head.build((None, self.backbone.hidden_dim))
        self.built = True

    def call(self, images):
        return self.head(self.features(images))

    def features(self, images):
        """What the head reads, (B, D)."""
        return pooled(self.backbone(images), self.backbone)

    def train_backbone(self, wanted):
        """Trains those of the backbone's variables whose path says so."""
        self.backbone.trainable = True
        for layer in self.backbone._flatten_layers():
            layer.trainable = True
        for variable in self.backbone.variables:
            variable.trainable = wanted(variable.path)

    def num_learned(self):
        """How many numbers a user would keep of what was trained."""
        return sum(int(np.prod(v.shape)) for v in self.trainable_variables)

    def get_config(self):
        raise NotImplementedError("A baseline is for comparison, and is not saved.")


def pooled(tokens, backbone):
    """What a head reads of tokens (B, T, D): the class token, or else their mean."""
    return tokens[:, 0] if backbone.use_class_token else ops.mean(tokens, axis=1)
