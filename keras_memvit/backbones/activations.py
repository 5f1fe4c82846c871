"""Activations of other libraries by our names."""

_PLAIN = {
    "gelu": "gelu",
    "gelu_approximate": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
_GATED = {"gelu": "geglu", "silu": "swiglu", "swish": "swiglu"}


def activation_of(activation, gated=False):
    """Our name for a KerasHub activation.

    Args:
        activation: a name or a function.
        gated: bool. Whether it is the gate of a gated MLP.

    Raises:
        ValueError: if there is none; says which there are.
    """
    known = _GATED if gated else _PLAIN
    name = getattr(activation, "__name__", activation)
    if name not in known:
        raise ValueError(
            f"The backbone's {'gated ' if gated else ''}MLP must have one of the "
            f"activations {sorted(known)}. Received: activation={activation!r}"
        )
    return known[name]
