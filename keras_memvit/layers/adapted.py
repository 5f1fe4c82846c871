"""Where a task's adapter acts: on what its class token computes, never on base tokens.

`adapters` below is None, or what `keras_memvit.readouts.adapters` makes of the tasks
of a layer; the places are `"norm1"`, `"query"`, `"key"`, `"value"`, `"output"`,
`"attended"`, `"norm2"`, `"expand"`, `"hidden"`, `"contract"` and `"mlp"`.
"""

import numpy as np
from keras import ops

from keras_memvit.layers.reshape import reshape


def adapted(adapters, place, y, x=None):
    """What a place gives with its adapters.

    Args:
        adapters: None, or the layer's.
        place: str, as above.
        y: what the frozen weights give there, `(B, K, W)`.
        x: what they take, `(B, K, V)`. Defaults to `y`.
    """
    if adapters is None:
        return y
    return adapters(place, y, y if x is None else x)


class AdaptedBase:
    """A layer's base tokens as tasks with adapters on keys and values see them.

    The base tokens `x` stay as they are, since all of it is linear in what changes:
    `q (x (W + dW))ᵀ = q (x W)ᵀ + (q dWᵀ) xᵀ`, `a (x (W + dW)) = a (x W) + (a x) dW`,
    and with scales `q (s K)ᵀ = (q s) Kᵀ`, `a (s V) = s (a V)`.

    Args:
        base: the layer's `BaseStates`.
        adapters: of the tasks that attend, in their order.
    """

    def __init__(self, base, adapters):
        self.base = base
        self.adapters = adapters

    def scores(self, query):
        """Queries `(B, G, H, d)` -> `(B, H, G, T)`."""
        scaled = self.adapters.scaled("key", _flat(query))
        scores = self.base.scores(_by_head(scaled, query))
        return self.adapters.added(scores, 2, lambda part: self._key(part, query))

    def _key(self, part, query):
        """What one kind adds to the scores of its tasks: `(B, H, g, T)` or None."""
        bias = part.bias("key")
        if bias is None and not part.changes("key"):
            return None
        query = part.of(query, 1)
        attention = self.base.attention
        alone = _heads_apart(query)  # (B, g, H, H d)
        if attention.rotary is not None and part.changes("key"):
            return self._turned_key(part, query, bias)
        back = part.back("key", alone)
        if back is None:
            return None
        back = ops.transpose(back, (0, 2, 1, 3))  # (B, H, g, D)
        scores = per_example(back, ops.transpose(self.base.normed, (0, 2, 1)))
        if bias is not None:
            own = ops.sum(alone * bias[:, None], axis=-1, keepdims=True)
            scores = scores + ops.transpose(own, (0, 2, 1, 3))
        return scores

    def _turned_key(self, part, query, bias):
        """The same where each token's key has a rotation of its own."""
        normed, (count, heads, width) = self.base.normed, query.shape[1:]
        x = ops.repeat(normed[:, None], count, axis=1)  # (B, g, T, D)
        keys = part.delta("key", x)
        if bias is not None:
            keys = keys + bias[:, None]
        tokens = normed.shape[1]
        keys = reshape(keys, (-1, tokens, heads, width))
        keys = self.base.attention.rotate(keys)
        keys = reshape(keys, (-1, count, tokens, heads, width))
        return ops.einsum("bghd,bgthd->bhgt", query, keys)

    def mean(self, weights):
        """Weighted means of the values: `(B, H, G, T)` -> `(B, G, H, d)`."""
        tokens = None
        if any(part.changes("value") for part in self.adapters.parts):
            tokens = per_example(weights, self.base.normed)  # (B, H, G, D)
        mean = self.base.mean(weights, tokens)
        scaled = self.adapters.scaled("value", _flat(mean))
        mean = _by_head(scaled, mean)
        return self.adapters.added(
            mean, 1, lambda part: self._value(part, weights, tokens)
        )

    def _value(self, part, weights, tokens):
        """What one kind adds to the means of its tasks: `(B, g, H, d)` or None."""
        if not part.changes("value"):
            return None
        x = ops.transpose(part.of(tokens, 2), (0, 2, 1, 3))  # (B, g, H, D)
        heads = self.base.attention.num_heads
        value = part.delta_by_head("value", x, heads)
        if (bias := part.bias("value")) is not None:
            weights = part.of(weights, 2)  # (B, H, g, T)
            total = ops.transpose(ops.sum(weights, -1, keepdims=True), (0, 2, 1, 3))
            value = value + total * reshape(bias, (-1, *value.shape[2:]))
        return value


def per_example(a, b):
    """(B, H, G, i), (B, i, j) -> (B, H, G, j), one matmul per example."""
    heads, group, inner = a.shape[1:]
    flat = ops.matmul(reshape(a, (-1, heads * group, inner)), b)
    return reshape(flat, (-1, heads, group, b.shape[-1]))


def _flat(x):
    """(B, G, H, d) -> (B, G, H d)."""
    return reshape(x, (-1, x.shape[1], x.shape[2] * x.shape[3]))


def _by_head(x, like):
    """(B, G, H d) -> (B, G, H, d)."""
    return reshape(x, (-1, *like.shape[1:]))


def _heads_apart(query):
    """(B, G, H, d) -> (B, G, H, H d): each head in its place, zeros elsewhere."""
    count, heads, width = query.shape[1:]
    own = ops.cast(np.eye(heads, dtype="float32")[..., None], query.dtype)
    return reshape(query[:, :, :, None] * own, (-1, count, heads, heads * width))
