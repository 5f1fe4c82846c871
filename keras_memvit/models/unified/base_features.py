"""What is known of an image before any task: frozen features, in the same pass."""

from keras import ops

from keras_memvit.layers.layer_norm import normalised


class BaseFeatures:
    """The frozen stream as it goes by, and what it says of each image.

    The backbone's own class token runs through the blocks once more beside the tasks,
    over the base tokens alone: it is what the base stream makes of it, and a store
    gives it too, which has no output of the last layer. `features` are it after the
    last norm and the mean over the last layer's patches, each with zero mean and unit
    variance: `(B, F)`, `F = 2 D`, or `D` where there is no class token.

    Args:
        layers: iterable of `(block, BaseStates)`.
        backbone: the `ViTBackbone`.
        batch: number of images.
    """

    def __init__(self, layers, backbone, batch):
        self.layers = layers
        self.backbone = backbone
        self.batch = batch
        self.token = None  # (B, 1, D)
        self.last = None  # (B, T, D)

    def __iter__(self):
        self.token = self._first_token()
        for block, base in self.layers:
            if self.token is not None:
                read = block.attention.read(block.norm1(self.token), base)
                self.token = block.advance(self.token, read)
            self.last = base.normed
            yield block, base

    def _first_token(self):
        embedding = self.backbone.patch_embedding
        if not embedding.use_class_token:
            return None
        dtype = self.backbone.tokens_dtype
        token = embedding.add_class_position(ops.cast(embedding.class_token, dtype))
        if self.backbone.pre_norm is not None:
            token = self.backbone.pre_norm(token)
        return ops.repeat(ops.cast(token, dtype)[None], self.batch, axis=0)

    def features(self):
        """float32 `(B, F)`, after all layers have gone by."""
        patches = self.last[:, self.backbone.num_base_tokens :]
        parts = [ops.mean(ops.cast(patches, "float32"), axis=1)]
        if self.token is not None:
            parts.insert(0, self.backbone.norm(self.token)[:, 0])
        parts = [normalised(ops.cast(part, "float32")) for part in parts]
        return ops.concatenate(parts, axis=-1)


def num_base_features(backbone):
    """`F`, the width of the features."""
    return backbone.hidden_dim * (1 + backbone.use_class_token)
