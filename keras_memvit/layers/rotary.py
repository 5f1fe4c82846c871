"""Rotary positions of patches, as DINOv3 has them."""

import math

import numpy as np
from keras import ops


class RotaryPositions:
    """Rotates the queries and keys of patches by where they are on the grid.

    A patch in row `i` of `n` is at `y = 2 (i + 0.5) / n - 1`, likewise `x`. Of the `d`
    numbers of a head the pairs `(k, k + d / 2)` turn by `2 pi y / theta^(4 k / d)`,
    `k < d / 4`, and then the same with `x`. Tokens in front of the patches
    have no position and stay as they are.

    Args:
        grid_shape: `(rows, columns)` of the patches.
        head_dim: int, a multiple of 4. Width `d` of a head.
        theta: float. The base of the periods.

    Raises:
        ValueError: if `head_dim` is no multiple of 4 or `theta` is not positive.

    Reference:
        - [Siméoni et al., 2025](https://arxiv.org/abs/2508.10104), DINOv3
        - [Su et al., 2021](https://arxiv.org/abs/2104.09864)
    """

    def __init__(self, grid_shape, head_dim, theta):
        if head_dim % 4:
            raise ValueError(
                "`rotary_theta` needs heads whose width is a multiple of 4. "
                f"Received: heads of width {head_dim}"
            )
        if not theta > 0:
            raise ValueError(
                f"`rotary_theta` must be positive. Received: rotary_theta={theta}"
            )
        y, x = (2 * (np.arange(n) + 0.5) / n - 1 for n in grid_shape)
        grid = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)  # (rows, columns, 2)
        periods = theta ** (4 * np.arange(head_dim // 4) / head_dim)
        angles = 2 * math.pi * grid.reshape(-1, 2, 1) / periods  # (N, 2, d / 4)
        angles = angles.reshape(len(angles), 1, -1)  # (N, 1, d / 2), the same by head
        self.cos = np.cos(angles).astype("float32")
        self.sin = np.sin(angles).astype("float32")

    def __call__(self, x):
        """Queries or keys `(B, T, H, d)`, patches last -> `(B, T, H, d)`."""
        front = x.shape[1] - len(self.cos)
        half = x.shape[-1] // 2
        a, b = x[:, front:, :, :half], x[:, front:, :, half:]
        cos, sin = (ops.cast(table, x.dtype) for table in (self.cos, self.sin))
        rotated = ops.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
        if not front:
            return rotated
        return ops.concatenate([x[:, :front], rotated], axis=1)
