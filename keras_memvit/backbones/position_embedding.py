"""Position embeddings for another image size."""

import numpy as np


def interpolate_position_embedding(
    positions, grid_shape, new_grid_shape, antialias=False
):
    """Resizes a table of position embeddings bicubically.

    Keys' cubic convolution with a = -0.5, half-pixel centres, weights
    renormalised at the edges: what `keras.ops.image.resize` computes on JAX,
    and TensorFlow up to its tabulated kernel. It is done in NumPy so that
    every backend gets the same table, and with it the same backbone
    fingerprint.

    Args:
        positions: array `(P + N, D)`; the first `P` rows (the class token's)
            are kept as they are.
        grid_shape: `(rows, columns)` of the `N` patches.
        new_grid_shape: `(rows, columns)` wanted.
        antialias: bool. Whether to widen the kernel when shrinking.

    Returns:
        A float32 array `(P + N', D)`.
    """
    positions = np.asarray(positions, dtype="float32")
    grid_shape, new_grid_shape = tuple(grid_shape), tuple(new_grid_shape)
    if grid_shape == new_grid_shape:
        return positions.copy()
    prefix, patches = np.split(
        positions, [len(positions) - grid_shape[0] * grid_shape[1]]
    )
    rows, columns = (
        _cubic_weights(old, new, antialias)
        for old, new in zip(grid_shape, new_grid_shape)
    )
    grid = patches.reshape(*grid_shape, -1).astype("float64")
    grid = np.einsum("ir,jc,rcd->ijd", rows, columns, grid, optimize=True)
    return np.concatenate([prefix, grid.reshape(-1, grid.shape[-1]).astype("float32")])


def _cubic_weights(old, new, antialias):
    """(new, old) matrix whose rows sum to 1."""
    scale = old / new
    centers = (np.arange(new) + 0.5) * scale - 0.5
    stretch = max(scale, 1.0) if antialias else 1.0
    t = np.abs(np.arange(old)[None] - centers[:, None]) / stretch
    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    weights = np.where(t <= 1.0, near, np.where(t < 2.0, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)
