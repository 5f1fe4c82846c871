"""(IA)^3: vectors that scale what the frozen layers hand on."""

from keras import ops

from keras_memvit.layers.base_states import BaseStates
from keras_memvit.rivals.rival import Rival
from keras_memvit.rivals.rival import pooled


class IA3(Rival):
    """`softmax(Q (s_k K)ᵀ) (s_v V)`, and `W (s_h h)` in the MLP, in every layer.

    Reference:
        - [Liu et al., 2022](https://arxiv.org/abs/2205.05638)
    """

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
            x = _scaled(block, x, *scales)
        return pooled(self.backbone.norm(x), self.backbone)


def _scaled(block, x, key_scale, value_scale, hidden_scale):
    """A block's `(B, T, D)` with scales on keys, values and the MLP's hidden layer."""
    normed = block.norm1(x)
    key, value = block.attention.project(normed)  # (B, T, H, d) each
    key, value = block.attention.rotate(key * key_scale), value * value_scale
    base = BaseStates(block, normed, key=key, value=value)
    attended = block.attention.attend_base(base)
    x = block.add_attended(x, attended)
    hidden = block.mlp.hidden(block.norm2(x)) * hidden_scale
    return block.add_mlp(x, block.mlp.contract(hidden))
