"""What learnable memory is compared with: full fine-tuning, head only, LoRA, (IA)^3."""

import keras
from keras import ops

from keras_memvit.backbones.convert import convert
from keras_memvit.layers.base_states import BaseStates

REGIMES = (
    "full",
    "head",
    "head_class",
    "lora",
    "ia3",
    "propagated",
    "propagated_update",
)
NEW_TOKENS = ("head_class", "propagated", "propagated_update")


def baseline(
    backbone,
    num_classes,
    regime,
    *,
    image_shape=None,
    rank=8,
    num_memory_tokens=5,
    dtype=None,
):
    """A plain Keras classifier on a copy of the backbone, to compare with.

    Args:
        backbone: whatever `build` takes.
        num_classes: int.
        regime: `"full"` (everything is trained), `"head"` (the head on the
            frozen class token), `"head_class"` (head and a new class token in
            place of the old one, the paper's "Head + Class"), `"lora"` (head
            and low-rank updates of query and value projections, Keras' own
            `Dense.enable_lora`), `"ia3"` (head and vectors that scale keys, values
            and the MLP's hidden layer, arXiv 2205.05638), or the paper's two
            losing variants of memory (figure 2b), with a new class token:
            `"propagated"` (memory enters the first layer and goes through all as
            any token) and `"propagated_update"` (and every later layer adds a
            learned update).
        image_shape: optional `(height, width, 3)`, as in `build`.
        rank: int. LoRA's rank. Defaults to `8`.
        num_memory_tokens: int. Propagated memory tokens. Defaults to `5`.
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
    if regime in NEW_TOKENS and not frozen.use_class_token:
        raise ValueError(
            f"`regime` {regime!r} needs a backbone with a class token to replace"
        )
    if regime in NEW_TOKENS:
        count = num_memory_tokens if regime != "head_class" else 0
        updates = regime == "propagated_update"
        model = _NewTokens(frozen.replicate(), num_classes, count, updates)
    else:
        kind = _Scaled if regime == "ia3" else _Baseline
        model = kind(frozen.replicate(), num_classes)
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


def pooled(tokens, backbone):
    """What a head reads of tokens (B, T, D): the class token, or else their mean."""
    return tokens[:, 0] if backbone.use_class_token else ops.mean(tokens, axis=1)


class _Baseline(keras.Model):
    """A head on the class token, or where there is none on the tokens' mean."""

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

    def get_config(self):
        raise NotImplementedError("A baseline is for comparison, and is not saved.")


class _Scaled(_Baseline):
    """(IA)^3: `softmax(Q (s_k K)ᵀ) (s_v V)`, and `W (s_h h)` in the MLP."""

    def build(self, input_shape):
        count = self.backbone.num_layers
        attention = self.backbone.blocks[0].attention
        heads = (attention.num_heads, attention.head_dim)
        shapes = {"key": heads, "value": heads, "hidden": (self.backbone.mlp_dim,)}
        self.scales = {
            name: self.add_weight(
                name=f"{name}_scale",
                shape=(count, *shape),
                initializer="ones",
                dtype="float32",
            )
            for name, shape in shapes.items()
        }
        super().build(input_shape)

    def features(self, images):
        x = self.backbone.embed(images)
        for i, block in enumerate(self.backbone.blocks):
            scales = [
                ops.cast(self.scales[name].value[i], x.dtype)
                for name in ("key", "value", "hidden")
            ]
            x = self._block(block, x, *scales)
        return pooled(self.backbone.norm(x), self.backbone)

    def _block(self, block, x, key_scale, value_scale, hidden_scale):
        normed = block.norm1(x)
        key, value = block.attention.project(normed)
        key, value = key * key_scale, value * value_scale
        base = BaseStates(block, normed, key=key, value=value)
        attended = block.attention.attend_base(base)
        x = x + (attended * block.scale1 if block.use_layer_scale else attended)
        hidden = block.mlp.hidden(block.norm2(x)) * hidden_scale
        y = block.mlp.contract(hidden)
        return x + (y * block.scale2 if block.use_layer_scale else y)


class _NewTokens(_Baseline):
    """A new class token, and memory that runs through the encoder behind the rest."""

    def __init__(self, backbone, num_classes, num_memory_tokens, updates):
        super().__init__(backbone, num_classes)
        self.num_memory_tokens = num_memory_tokens
        self.num_updates = backbone.num_layers - 1 if updates else 0

    def build(self, input_shape):
        width = self.backbone.hidden_dim
        self.class_token = self.add_weight(
            name="class_token", shape=(width,), dtype="float32"
        )
        pretrained = self.backbone.patch_embedding.class_token
        self.class_token.assign(ops.convert_to_numpy(pretrained)[0])
        if self.num_memory_tokens:
            # The first layer's memory, then what later layers add to it.
            self.memory = self.add_weight(
                name="memory",
                shape=(1 + self.num_updates, self.num_memory_tokens, width),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                dtype="float32",
            )
        super().build(input_shape)

    def features(self, images):
        x = self.backbone.embed(images)
        token = self.backbone.patch_embedding.add_class_position(
            self.class_token.value[None]
        )
        if self.backbone.pre_norm is not None:
            token = self.backbone.pre_norm(token)
        count = x.shape[1]
        x = ops.concatenate([_for_all(token, x), x[:, 1:]], axis=1)
        for i, block in enumerate(self.backbone.blocks):
            if self.num_memory_tokens and i <= self.num_updates:
                memory = _for_all(self.memory.value[i], x)
                memory = memory if i == 0 else x[:, count:] + memory
                x = ops.concatenate([x[:, :count], memory], axis=1)
            x = block(x)
        return self.backbone.norm(x)[:, 0]


def _for_all(tokens, x):
    """(m, D) -> (B, m, D), of the batch and type of `x`."""
    return ops.repeat(ops.cast(tokens, x.dtype)[None], ops.shape(x)[0], axis=0)
