"""Products of bfloat16: rounded once, whatever the backend."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from keras import ops

from keras_memvit.layers.layer_norm import LayerNorm
from keras_memvit.layers.matmul import Dense
from keras_memvit.layers.matmul import matmul

ROUNDING = 2.0**-8  # of bfloat16, half the distance between neighbours


def numbers(*shape):
    """Random values that bfloat16 can hold."""
    values = np.random.default_rng(0).normal(size=shape).astype("float32")
    return np.array(ops.cast(ops.cast(values, "bfloat16"), "float32"))


def test_a_product_is_the_exact_one_rounded():
    a, b = numbers(2, 3, 5, 257), numbers(2, 3, 257, 4)
    found = matmul(ops.cast(a, "bfloat16"), ops.cast(b, "bfloat16"))
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    exact = a.astype("float64") @ b
    error = np.abs(ops.convert_to_numpy(ops.cast(found, "float32")) - exact)
    # What is summed in float32 before it is rounded:
    sums = 257 * 2.0**-24 * (np.abs(a) @ np.abs(b))
    assert (error <= ROUNDING * np.abs(exact) + sums).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
def test_a_dense_layer_answers_and_trains_as_keras_own(dtype):
    x, y = numbers(16, 8), numbers(16, 3)
    trained = []
    for layer in (Dense(3, dtype=dtype), keras.layers.Dense(3, dtype=dtype)):
        model = keras.Sequential([keras.Input((8,)), layer])
        layer.kernel.assign(numbers(8, 3))
        before = model.predict(x, verbose=0)
        model.compile(keras.optimizers.SGD(0.5), "mse")
        model.fit(x, y, batch_size=16, verbose=0)
        weights = [ops.convert_to_numpy(ops.cast(w, "float32")) for w in layer.weights]
        trained.append([before.astype("float32"), *weights])
    tolerance = 1e-5 if dtype == "float32" else 2 * ROUNDING
    for ours, keras_own in zip(*trained):
        np.testing.assert_allclose(ours, keras_own, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is XLA's kernel")
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_xla_multiplies_a_blocks_tokens_in_bfloat16(dtype):
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("an accelerator has products of its own")
    block = make_backbone(dtype=dtype).blocks[0]
    x = jax.numpy.ones((2, 7, 32), "bfloat16")
    text = jax.jit(block).lower(x).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 8  # q, k, v, scores, mean, output; two of the MLP
    for line in products:
        assert line.count("bf16>") == 2 and line.rstrip().endswith("xf32>"), line


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize("given", ["float32", "bfloat16"])
@pytest.mark.parametrize("scope", ["float32", "bfloat16"])
def test_a_layer_that_is_called_directly_casts_as_keras_does(dtype, given, scope):
    """Also within a layer that computes in another type."""

    class Outer(keras.layers.Layer):
        def call(self, x):
            return inner(ops.cast(x, given))

    x, kinds = numbers(4, 8), []
    for inner in (
        Dense(3, dtype=dtype),
        keras.layers.Dense(3, dtype=dtype),
        LayerNorm(dtype=dtype),
        keras.layers.LayerNormalization(dtype=dtype),
    ):
        inner.build((None, 8))
        found = Outer(dtype=scope)(x), inner(ops.cast(x, given))
        kinds.append([keras.backend.standardize_dtype(y.dtype) for y in found])
    assert kinds[0] == kinds[1] and kinds[2] == kinds[3]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="they are torch's")
def test_hooks_of_a_layer_are_called():
    layer, called = Dense(3), []
    layer.build((None, 8))
    handle = layer.register_forward_hook(lambda *args: called.append(1))
    layer(ops.ones((2, 8)))
    handle.remove()
    layer(ops.ones((2, 8)))
    assert called == [1]
