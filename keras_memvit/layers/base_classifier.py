"""The head that the pretrained backbone came with."""

import keras
from keras import ops

POOLINGS = ("token", "gap", "max")


@keras.saving.register_keras_serializable(package="keras_memvit")
class BaseClassifier(keras.layers.Layer):
    """Pooled tokens, an optional tanh layer, and a linear layer to logits.

    Args:
        num_classes: int.
        pooling: `"token"` (the class token), `"gap"` (mean over all tokens)
            or `"max"`.
        intermediate_dim: optional int. Width of a tanh layer before the logits.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: normed tokens of shape `(B, T, D)`.

    Returns:
        float32 logits of shape `(B, num_classes)`, before any activation.
    """

    def __init__(self, num_classes, pooling="token", intermediate_dim=None, **kwargs):
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(
                f"`pooling` must be one of {POOLINGS}. Received: pooling={pooling!r}"
            )
        self.num_classes = num_classes
        self.pooling = pooling
        self.intermediate_dim = intermediate_dim

    def build(self, input_shape):
        width = input_shape[-1]
        if self.intermediate_dim:
            self.intermediate = keras.layers.Dense(
                self.intermediate_dim,
                activation="tanh",
                dtype=self.dtype_policy,
                trainable=self.trainable,
                name="intermediate",
            )
            self.intermediate.build((None, width))
            width = self.intermediate_dim
        self.logits = keras.layers.Dense(
            self.num_classes,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="logits",
        )
        self.logits.build((None, width))

    def call(self, x):
        if self.pooling == "token":
            x = x[:, 0]
        else:
            x = (ops.mean if self.pooling == "gap" else ops.max)(x, axis=1)
        if self.intermediate_dim:
            x = self.intermediate(x)
        return ops.cast(self.logits(x), "float32")

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.num_classes

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            pooling=self.pooling,
            intermediate_dim=self.intermediate_dim,
        )
        return config
