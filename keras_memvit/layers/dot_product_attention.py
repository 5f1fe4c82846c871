"""Unmasked scaled dot-product attention by the fastest way each backend has."""

import contextlib
import contextvars
import functools

import keras
from keras import ops

from keras_memvit.layers.matmul import matmul

_WRITTEN_OUT = contextvars.ContextVar("written_out", default=False)


def dot_product_attention(query, key, value):
    """`softmax(Q Kᵀ / sqrt(d)) V`, every query seeing every key.

    Args:
        query: `(B, T, H, d)`.
        key, value: `(B, S, H, d)`.

    Returns:
        A tensor of shape `(B, T, H, d)`.
    """
    if _has_fused_kernel() and not _WRITTEN_OUT.get():
        return ops.dot_product_attention(query, key, value)
    q, k, v = (ops.transpose(t, (0, 2, 1, 3)) for t in (query, key, value))
    q = q * float(query.shape[-1]) ** -0.5
    scores = matmul(q, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, T, S)
    weights = ops.softmax(ops.cast(scores, "float32"), axis=-1)
    output = matmul(ops.cast(weights, v.dtype), v)  # (B, H, T, d)
    return ops.transpose(output, (0, 2, 1, 3))


@contextlib.contextmanager
def written_out():
    """A context without fused kernels, which torch's `vmap` runs one by one."""
    token = _WRITTEN_OUT.set(True)
    try:
        yield
    finally:
        _WRITTEN_OUT.reset(token)


@functools.cache
def _has_fused_kernel():
    # `ops.dot_product_attention` is a fused kernel on torch and on JAX
    # accelerators. Elsewhere it is einsums, which take 1.6 times as long as
    # the matmuls above on JAX's CPU (B=8, T=197, 12 heads) and 1.2 on TensorFlow's.
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    return keras.backend.backend() == "torch"
