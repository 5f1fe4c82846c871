"""One pre-LN transformer block over both streams."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_memvit.layers.adapted import adapted
from keras_memvit.layers.base_states import BaseStates
from keras_memvit.layers.layer_norm import LayerNorm
from keras_memvit.layers.masked_mha import MaskedMHA
from keras_memvit.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_memvit")
class EncoderBlock(keras.layers.Layer):
    """Norm, attention, layer scale, residual; norm, MLP, layer scale, residual.

    `y = x + s1 * MHA(norm1(x))`, then `y + s2 * MLP(norm2(y))`. Class tokens
    of new tasks go through the same weights beside the base tokens, by `advance`;
    memory goes through `norm1` (figure 2 of the paper) and the key and value
    projections only.

    Args:
        num_heads: int. Number of attention heads.
        mlp_dim: int. Width of the MLP's hidden layer.
        activation: str. The MLP's activation, see `MLP`. Defaults to `"gelu"`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        use_qkv_bias, use_output_bias, use_mlp_bias: bool. Whether these
            projections have a bias; `use_qkv_bias` may be three. Default to `True`.
        use_layer_scale: bool. Whether a learned vector scales each residual
            branch, as in DINOv2. Defaults to `False`.
        rotary_theta, grid_shape: rotary positions, see `MaskedMHA`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: base tokens of shape `(B, T, D)`.

    Returns:
        A tensor of shape `(B, T, D)`.

    Example:

    >>> block = keras_memvit.layers.EncoderBlock(num_heads=4, mlp_dim=64)
    >>> tuple(block(keras.ops.ones((2, 50, 32))).shape)
    (2, 50, 32)
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-6,
        use_qkv_bias: bool | Sequence[bool] = True,
        use_output_bias: bool = True,
        use_mlp_bias: bool = True,
        use_layer_scale: bool = False,
        rotary_theta: float | None = None,
        grid_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # === Config ===
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.use_qkv_bias = use_qkv_bias
        self.use_output_bias = use_output_bias
        self.use_mlp_bias = use_mlp_bias
        self.use_layer_scale = use_layer_scale
        self.rotary_theta = rotary_theta
        self.grid_shape = grid_shape
        # === Layers ===
        self.norm1 = self._norm("norm1")
        self.attention = MaskedMHA(
            num_heads,
            use_qkv_bias=use_qkv_bias,
            use_output_bias=use_output_bias,
            rotary_theta=rotary_theta,
            grid_shape=grid_shape,
            dtype=self.dtype_policy,
            name="attention",
        )
        self.norm2 = self._norm("norm2")
        self.mlp = MLP(
            mlp_dim,
            activation=activation,
            use_bias=use_mlp_bias,
            dtype=self.dtype_policy,
            name="mlp",
        )

    def _norm(self, name):
        return LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def build(self, x_shape):
        hidden_dim = x_shape[-1]
        for layer in (self.norm1, self.attention, self.norm2, self.mlp):
            layer.build((None, None, hidden_dim))
        if self.use_layer_scale:
            self.scale1, self.scale2 = (
                self.add_weight(name=name, shape=(hidden_dim,), initializer="ones")
                for name in ("scale1", "scale2")
            )

    def call(self, x):
        return self.base_states(x).output()

    def base_states(self, x, num_queries=0):
        """What attention sees of the base tokens (B, T, D): `BaseStates`."""
        return BaseStates(self, self.norm1(x), x=x, num_queries=num_queries)

    def norm_tokens(self, x, adapters=None):
        """Class tokens (B, K, D) as attention takes them."""
        return adapted(adapters, "norm1", self.norm1(x))

    def norm_memory(self, memory, memory_norm=True, adapters=None):
        """Memory (M, D) as the key and value projections take it.

        Args:
            memory: `(M, D)`.
            memory_norm: bool, or boolean array `(M, 1)`: what passes the norm.
            adapters: optional, of the memory's tokens, see `adapted`.
        """
        if memory_norm is False:
            return memory
        normed = self.norm1(memory)
        if adapters is not None:
            normed = adapted(adapters, "norm1", normed[None])[0]
        return normed if memory_norm is True else ops.where(memory_norm, normed, memory)

    def advance(self, x, attended, adapters=None):
        """Tokens (B, T, D) of either stream and what they attended to -> (B, T, D)."""
        x = self.add_attended(x, adapted(adapters, "attended", attended))
        normed = adapted(adapters, "norm2", self.norm2(x))
        y = self.mlp.adapted(normed, adapters)
        return self.add_mlp(x, adapted(adapters, "mlp", y))

    def add_attended(self, x, attended):
        """`x + s1 * attended`, the first residual."""
        if self.use_layer_scale:
            attended = _scaled(attended, self.scale1)
        return x + attended

    def add_mlp(self, x, y):
        """`x + s2 * y`, the second residual."""
        return x + (_scaled(y, self.scale2) if self.use_layer_scale else y)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            activation=self.activation,
            layer_norm_epsilon=self.layer_norm_epsilon,
            use_qkv_bias=self.use_qkv_bias,
            use_output_bias=self.use_output_bias,
            use_mlp_bias=self.use_mlp_bias,
            use_layer_scale=self.use_layer_scale,
        )
        if self.rotary_theta is not None:
            config.update(rotary_theta=self.rotary_theta, grid_shape=self.grid_shape)
        return config


def _scaled(x, scale):
    # Cast, since the task stream runs outside of this layer's autocast.
    return x * ops.cast(scale, x.dtype)
