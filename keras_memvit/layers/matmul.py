"""Matrix products by the fastest way each backend has."""

import functools

import keras
from keras import ops

from keras_memvit.layers.direct import is_direct


def matmul(a, b):
    """`ops.matmul`, in bfloat16 on JAX's CPU in half the time, given AVX512-BF16.

    XLA (jaxlib 0.10) makes a product of bfloat16 that gives bfloat16 one of float32,
    with conversions around it. One that gives float32 it leaves to a kernel that takes
    the processor's own products of bfloat16.

    Args:
        a: `(..., n, k)`.
        b: `(..., k, m)`.

    Returns:
        A tensor of shape `(..., n, m)`, of the arguments' type.
    """
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)
    if a.dtype == b.dtype == "bfloat16" and _sums_apart():
        import jax.numpy as jnp

        return jnp.matmul(a, b, preferred_element_type="float32").astype("bfloat16")
    return ops.matmul(a, b)


class Dense(keras.layers.Dense):
    """`keras.layers.Dense` by this `matmul`."""

    def __call__(self, inputs, *args, **kwargs):
        if self.built and is_direct(self, self._kernel, inputs):
            return self.call(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs, training=None):
        outputs = matmul(inputs, self.kernel)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def quantize(self, mode=None, type_check=True, config=None):
        # Quantised, it is Keras' own.
        super().quantize(mode, type_check=False, config=config)


@functools.cache
def _sums_apart():
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"
