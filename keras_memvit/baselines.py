"""What learnable memory is compared with: full fine-tuning, head only, LoRA."""

import keras
from keras import ops

from keras_memvit.converters import convert

REGIMES = ("full", "head", "head_class", "lora")


def baseline(backbone, num_classes, regime, *, image_shape=None, rank=8, dtype=None):
    """A plain Keras classifier on a copy of the backbone, to compare with.

    Args:
        backbone: whatever `build` takes.
        num_classes: int.
        regime: `"full"` (everything is trained), `"head"` (the head on the
            frozen class token), `"head_class"` (head and a new class token in
            place of the old one, the paper's "Head + Class") or `"lora"` (head
            and low-rank updates of query and value projections, Keras' own
            `Dense.enable_lora`).
        image_shape: optional `(height, width, 3)`, as in `build`.
        rank: int. LoRA's rank. Defaults to `8`.
        dtype: optional dtype policy, as in `build`.

    Returns:
        A `keras.Model` from images `(B, H, W, 3)` in [0, 255] to logits
        `(B, num_classes)`. The caller's backbone is never changed.

    Raises:
        ValueError: if `regime` is none of these, or wants a class token and
            the backbone has none.

    Example:

    ```python
    full = keras_memvit.recipes.baseline(backbone, 10, "full")
    full.compile("adamw", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    full.fit(images, labels)
    ```
    """
    if regime not in REGIMES:
        raise ValueError(
            f"`regime` must be one of {REGIMES}. Received: regime={regime!r}"
        )
    frozen, _ = convert(backbone, image_shape=image_shape, dtype=dtype)
    if regime == "head_class" and not frozen.use_class_token:
        raise ValueError("`regime` 'head_class' needs a backbone with a class token")
    model = _Baseline(frozen.replicate(), num_classes, regime == "head_class")
    model.build((None, *frozen.image_shape))
    if regime == "full":
        _set_trainable(model.backbone, lambda path: True)
    if regime == "lora":
        for block in model.backbone.blocks:
            for projection in (block.attention.query, block.attention.value):
                projection.enable_lora(rank)
        _set_trainable(model.backbone, lambda path: "lora" in path)
    return model


def _set_trainable(backbone, wanted):
    """Trains the variables whose path says so, no others."""
    backbone.trainable = True
    for layer in backbone._flatten_layers():
        layer.trainable = True
    for variable in backbone.variables:
        variable.trainable = wanted(variable.path)


class _Baseline(keras.Model):
    def __init__(self, backbone, num_classes, own_class_token):
        super().__init__(name="baseline")
        self.backbone = backbone
        self.own_class_token = own_class_token
        self.head = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype="float32",
            name="head",
        )

    def build(self, input_shape):
        self.head.build((None, self.backbone.hidden_dim))
        if self.own_class_token:
            self.class_token = self.add_weight(
                name="class_token", shape=(self.backbone.hidden_dim,), dtype="float32"
            )
            pretrained = self.backbone.patch_embedding.class_token
            self.class_token.assign(ops.convert_to_numpy(pretrained)[0])
        self.built = True

    def call(self, images):
        if not self.own_class_token:
            x = self.backbone(images)
            if self.backbone.use_class_token:
                return self.head(x[:, 0])
            return self.head(ops.mean(x, axis=1))
        x = self.backbone.embed(images)
        token = self.backbone.patch_embedding.add_class_position(
            self.class_token.value[None]
        )
        if self.backbone.pre_norm is not None:
            token = self.backbone.pre_norm(token)
        token = ops.repeat(ops.cast(token, x.dtype)[None], ops.shape(x)[0], axis=0)
        x = ops.concatenate([token, x[:, 1:]], axis=1)
        for block in self.backbone.blocks:
            x = block(x)
        return self.head(self.backbone.norm(x)[:, 0])

    def get_config(self):
        raise NotImplementedError("A baseline is for comparison, and is not saved.")
