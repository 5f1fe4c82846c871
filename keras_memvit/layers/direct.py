"""Calls of small frozen layers without Keras' bookkeeping around them."""

import keras


def is_direct(layer, weight, inputs):
    """Whether `layer.call(inputs)` is all that `layer(inputs)` would compute.

    That is so where there is nothing to cast, to quantise or to trace. Keras' own way
    takes 0.1 ms a call on torch, longer than a product of 32 class tokens.

    Args:
        layer: a `keras.layers.Layer`.
        weight: one of its variables, whose type it computes in.
        inputs: what it is called with.
    """
    return (
        getattr(layer, "quantization_mode", None) is None
        and not isinstance(inputs, keras.KerasTensor)
        and getattr(inputs, "dtype", None) == weight.value.dtype
    )
