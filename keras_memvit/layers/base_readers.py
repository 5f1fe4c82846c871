"""Two ways for class tokens to read the base tokens; the result is the same."""

from keras import ops


class BaseStates:
    """One layer's base tokens as attention sees them, projected when needed.

    Args:
        attention: the layer's `MaskedMHA`.
        x: base tokens behind the norm, `(B, T, D)`.
        key, value: optional `(B, T, H, d)` each, where they are known already.
    """

    def __init__(self, attention, x, key=None, value=None):
        self.attention = attention
        self.x = x
        self.key = key
        self.value = value

    def project(self):
        """Keys and values of the base tokens, each `(B, T, H, d)`."""
        if self.key is None:
            self.key, self.value = self.attention.project(self.x)
        return self.key, self.value

    def reader(self, num_queries):
        """How this many queries read the base tokens best."""
        # With few, projecting the queries back costs less than keeping the
        # base keys and values for the gradient.
        if 2 * num_queries * self.attention.num_heads <= self.x.shape[1]:
            return UnprojectedTokens(self.attention, self.x)
        return ProjectedTokens(*self.project())


class ProjectedTokens:
    """Base tokens read through their keys and values."""

    def __init__(self, key, value):
        self.key = key
        self.value = value

    def scores(self, query):
        """(B, G, H, d) -> (B, H, G, T)."""
        return ops.einsum("bghd,bthd->bhgt", query, self.key)

    def shared_scores(self, query):
        """Queries that are the same for all examples: (R, H, d) -> (B, H, R, T)."""
        return ops.einsum("rhd,bthd->bhrt", query, self.key)

    def mean(self, weights):
        """(B, H, G, T) -> (B, G, H, d)."""
        return ops.einsum("bhgt,bthd->bghd", weights, self.value)


class UnprojectedTokens:
    """Base tokens read as they are, for a few queries.

    `q (x W_k + b)ᵀ = (q W_kᵀ) xᵀ + q bᵀ` and `w (x W_v + b) = (w x) W_v + w 1 b`:
    the queries are projected back instead, so a gradient keeps `x` alone alive,
    half of what keys and values would take, and the last layer needs neither.
    """

    def __init__(self, attention, x):
        self.attention = attention
        self.x = x
        self.heads = (attention.num_heads, attention.head_dim)
        self.width = x.shape[-1]

    def scores(self, query):
        """(B, G, H, d) -> (B, H, G, T)."""
        key = self.attention.key
        kernel = ops.reshape(key.kernel, (-1, *self.heads))  # (D, H, d)
        back = ops.einsum("bghd,Dhd->bhgD", query, kernel)
        scores = self._per_batch(back, ops.transpose(self.x, (0, 2, 1)))
        if key.use_bias:
            bias = ops.reshape(key.bias, self.heads)
            scores += ops.expand_dims(ops.einsum("bghd,hd->bhg", query, bias), -1)
        return scores

    def shared_scores(self, query):
        """Queries that are the same for all examples: (R, H, d) -> (B, H, R, T)."""
        key = self.attention.key
        kernel = ops.reshape(key.kernel, (-1, *self.heads))  # (D, H, d)
        back = ops.einsum("rhd,Dhd->hrD", query, kernel)
        flat = ops.matmul(self.x, ops.transpose(ops.reshape(back, (-1, self.width))))
        flat = ops.reshape(flat, (-1, self.x.shape[1], *back.shape[:2]))
        scores = ops.transpose(flat, (0, 2, 3, 1))
        if key.use_bias:
            bias = ops.reshape(key.bias, self.heads)
            scores += ops.expand_dims(ops.einsum("rhd,hd->hr", query, bias), -1)
        return scores

    def mean(self, weights):
        """(B, H, G, T) -> (B, G, H, d)."""
        value = self.attention.value
        kernel = ops.reshape(value.kernel, (-1, *self.heads))
        mean = self._per_batch(weights, self.x)  # (B, H, G, D)
        mean = ops.einsum("bhgD,Dhd->bghd", mean, kernel)
        if value.use_bias:
            bias = ops.reshape(value.bias, self.heads)
            total = ops.transpose(ops.sum(weights, -1, keepdims=True), (0, 2, 1, 3))
            mean += total * bias
        return mean

    def _per_batch(self, a, b):
        """(B, H, G, i), (B, i, j) -> (B, H, G, j), one matmul per example."""
        heads, group, inner = a.shape[1:]
        flat = ops.matmul(ops.reshape(a, (-1, heads * group, inner)), b)
        return ops.reshape(flat, (-1, heads, group, b.shape[-1]))
