"""The feed-forward half of an encoder block."""

from typing import Any

import keras
from keras import ops

from keras_memvit.layers.adapted import adapted
from keras_memvit.layers.drawn import drawn
from keras_memvit.layers.matmul import Dense


def quick_gelu(x):
    """`x * sigmoid(1.702 x)`, as CLIP has it."""
    return x * ops.sigmoid(1.702 * x)


def gelu_tanh(x):
    """The tanh approximation of gelu, as KerasCV has it."""
    return ops.gelu(x, approximate=True)


def gelu(x):
    """The exact gelu, `x * Phi(x)`."""
    return ops.gelu(x, approximate=False)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": ops.relu,
}

GATES = {"swiglu": ops.silu, "geglu": gelu}


@keras.saving.register_keras_serializable(package="keras_memvit")
class MLP(keras.layers.Layer):
    """`W2 act(W1 x)`, or the gated `W2 (act(a) * b)` with `[a, b] = W1 x`.

    Args:
        mlp_dim: int. Width of the hidden layer.
        activation: str, one of `"gelu"`, `"gelu_tanh"`, `"quick_gelu"`,
            `"relu"`, or for the gated form `"swiglu"` (silu) or `"geglu"` (exact gelu).
        use_bias: bool. Whether both projections have a bias.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: tensor of shape `(B, T, D)`.

    Returns:
        A tensor of shape `(B, T, D)`.

    Raises:
        ValueError: if `activation` is none of these.

    Example:

    >>> mlp = keras_memvit.layers.MLP(mlp_dim=64, activation="swiglu")
    >>> tuple(mlp(keras.ops.ones((2, 50, 32))).shape)
    (2, 50, 32)

    Reference:
        - [Shazeer, 2020](https://arxiv.org/abs/2002.05202) for gated forms
    """

    def __init__(
        self,
        mlp_dim: int,
        activation: str = "gelu",
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        legal = [*ACTIVATIONS, *GATES]
        if activation not in legal:
            raise ValueError(
                f"`activation` must be one of {legal}. "
                f"Received: activation={activation!r}"
            )
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.use_bias = use_bias

    def build(self, input_shape):
        hidden_dim = input_shape[-1]
        gated = self.activation in GATES
        self.expand = Dense(
            self.mlp_dim * (2 if gated else 1),
            use_bias=self.use_bias,
            kernel_initializer=drawn(),
            dtype=self.dtype_policy,
            name="expand",
        )
        self.expand.build((None, hidden_dim))
        self.contract = Dense(
            hidden_dim,
            use_bias=self.use_bias,
            kernel_initializer=drawn(),
            dtype=self.dtype_policy,
            name="contract",
        )
        self.contract.build((None, self.mlp_dim))

    def call(self, x):
        return self.contract(self.hidden(x))

    def adapted(self, x, adapters):
        """`call` on class tokens (B, K, D) with their tasks' adapters, or None."""
        hidden = adapted(adapters, "hidden", self.hidden(x, adapters))
        return adapted(adapters, "contract", self.contract(hidden), hidden)

    def hidden(self, x, adapters=None):
        """What the second projection takes: (B, T, D) -> (B, T, mlp_dim)."""
        x = adapted(adapters, "expand", self.expand(x), x)
        if self.activation in GATES:
            gate, x = ops.split(x, 2, axis=-1)
            return GATES[self.activation](gate) * x
        return ACTIVATIONS[self.activation](x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            mlp_dim=self.mlp_dim, activation=self.activation, use_bias=self.use_bias
        )
        return config
