"""What an adapter is."""

import numpy as np
from keras import ops

from keras_memvit.layers.mlp import GATES
from keras_memvit.layers.reshape import reshape

PREFIX = "adapter/"


class Adapter:
    """How a task changes what its class token computes in each layer.

    Of a place where the frozen weights give `y = x W + b` an adapter makes
    `scale * y + delta(x) + bias`. `w` below holds the tensors of the `K` tasks that
    have this adapter, for one layer, tasks first.
    """

    def shapes(self, rank, backbone):
        """Tensors of one task by name: `(shape without L, stddev)`."""
        raise NotImplementedError(f"{type(self).__name__} must have `shapes`")

    def scale(self, w, place):
        """`(K, W)`, or None."""
        return None

    def delta(self, w, place, x):
        """`(B, K, n, V)` -> `(B, K, n, W)`, or None."""
        return None

    def delta_by_head(self, w, place, x, heads):
        """`delta` of a row for each head, of which it takes its own part alone.

        Args:
            x: `(B, K, H, V)`.
            heads: int `H`.

        Returns:
            A tensor of shape `(B, K, H, W / H)`.
        """
        y = self.delta(w, place, x)
        count, width = y.shape[1], y.shape[-1] // heads
        y = reshape(y, (-1, count, heads, heads, width))
        own = np.eye(heads, dtype="float32")[..., None]
        return ops.sum(y * ops.cast(own, y.dtype), axis=3)

    def back(self, w, place, y):
        """The transposed `delta`, of a place where it is linear."""
        return None

    def bias(self, w, place):
        """`(K, W)`, or None."""
        return None


def sizes(backbone):
    """Widths of what each projection of a block takes and gives."""
    width, heads = backbone.hidden_dim, backbone.num_heads
    inner, gated = heads * (width // heads), backbone.activation in GATES
    return {
        "query": (width, inner),
        "key": (width, inner),
        "value": (width, inner),
        "output": (inner, width),
        "expand": (width, backbone.mlp_dim * (1 + gated)),
        "contract": (backbone.mlp_dim, width),
    }
