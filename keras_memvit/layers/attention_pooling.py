"""The pooling head of SigLIP: one learned query over all tokens."""

from typing import Any

import keras
from keras import ops

from keras_memvit.layers.masked_mha import MaskedMHA
from keras_memvit.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_memvit")
class AttentionPooling(keras.layers.Layer):
    """`z = MHA(probe, x)`, then `z + MLP(norm(z))`.

    Args:
        num_heads: int. Number of attention heads.
        mlp_dim: int. Width of the MLP's hidden layer.
        activation: str. The MLP's activation, see `MLP`. Defaults to `"gelu_tanh"`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: normed tokens of shape `(B, T, D)`.

    Returns:
        A tensor of shape `(B, D)`.

    Example:

    >>> pooling = keras_memvit.layers.AttentionPooling(num_heads=4, mlp_dim=64)
    >>> tuple(pooling(keras.ops.ones((2, 50, 32))).shape)
    (2, 32)

    Reference:
        - [Zhai et al., 2023](https://arxiv.org/abs/2303.15343), SigLIP
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        activation: str = "gelu_tanh",
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.attention = MaskedMHA(num_heads, dtype=self.dtype_policy, name="attention")
        self.norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="norm"
        )
        self.mlp = MLP(
            mlp_dim, activation=activation, dtype=self.dtype_policy, name="mlp"
        )

    def build(self, x_shape):
        self.probe = self.add_weight(
            name="probe",
            shape=(1, x_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        for layer in (self.attention, self.norm, self.mlp):
            layer.build((None, None, x_shape[-1]))

    def call(self, x):
        probe = ops.repeat(self.probe.value[None], ops.shape(x)[0], axis=0)
        z = self.attention.attend(ops.cast(probe, x.dtype), x)  # (B, 1, D)
        return (z + self.mlp(self.norm(z)))[:, 0]

    def compute_output_shape(self, x_shape):
        return x_shape[0], x_shape[-1]

    def get_config(self):
        config = super().get_config()
        config.update(
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            activation=self.activation,
            layer_norm_epsilon=self.layer_norm_epsilon,
        )
        return config
