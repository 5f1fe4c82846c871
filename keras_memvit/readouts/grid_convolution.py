"""Depth-wise 3 x 3 convolutions over the patch grid, of several tasks at once.

Libraries' own convolutions by groups are slow on a CPU, and nine shifted copies compile
twice as long and take as many operations.
"""

import numpy as np
from keras import ops

from keras_memvit.layers.reshape import reshape


def convolution_weights(kernel, columns):
    """What `convolve` takes, of all layers: a list of one tensor a layer.

    A row of the grid beside those above and below it, times one matrix a channel, is
    the convolution.

    Args:
        kernel: `(L, K, 3, 3, r)`.
        columns: int `W` of the grid.

    Returns:
        A list of matrices `(K r, 3 W, W)`: `[i W + a, b]` is the kernel's row `i`,
        column `a - b + 1`, where there is one, else 0.
    """
    layers, count, _, _, r = kernel.shape
    column = np.arange(columns)[:, None] - np.arange(columns) + 1  # (W, W)
    places = column == np.arange(3)[:, None, None]
    places = ops.convert_to_tensor(places.reshape(3, -1).astype("float32"))
    kernel = reshape(ops.transpose(kernel, (0, 1, 4, 2, 3)), (-1, 3)) @ places
    kernel = reshape(kernel, (layers, count * r, 3 * columns, columns))
    return ops.unstack(kernel, axis=0)


def convolve(x, matrices):
    """Zero-padded: `(K, B, rows, columns, r)` -> `(K, B, rows, columns, r)`.

    Args:
        x: tensor.
        matrices: the layer's, of `convolution_weights`.
    """
    count, _, rows, columns, r = x.shape
    x = reshape(ops.transpose(x, (0, 4, 1, 2, 3)), (count * r, -1, rows, columns))
    zeros = ops.zeros_like(x[:, :, :1])
    above = ops.concatenate([zeros, x[:, :, :-1]], axis=2)
    below = ops.concatenate([x[:, :, 1:], zeros], axis=2)
    x = ops.concatenate([above, x, below], axis=-1)
    x = reshape(x, (count * r, -1, 3 * columns)) @ matrices
    x = reshape(x, (count, r, -1, rows, columns))
    return ops.transpose(x, (0, 2, 3, 4, 1))
