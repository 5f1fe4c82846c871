"""A small network over all base tokens, for what depends on place and number."""

import dataclasses
import math

from keras import ops

from keras_memvit.layers.dot_product_attention import dot_product_attention
from keras_memvit.readouts.readout import Parameter
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import register
from keras_memvit.readouts.readout import require_count

EPSILON = 1e-6
_LAYERED = (
    "side/input",
    "side/query",
    "side/value",
    "side/convolution",
    "side/expand",
    "side/contract",
)


@register
@dataclasses.dataclass(frozen=True)
class Side(Readout):
    """A side stream `s` (T, r) of width `r` beside the frozen one.

    With `u_l` (T, D) layer `l`'s base tokens after its first norm, `LN` a norm
    without parameters, and `s_0 = 0`:

        s = s + u_l A_l
        y = LN(s),  s = s + softmax(y M_l yᵀ / sqrt(r)) y V_l     all T tokens
        s[patches] = s[patches] + C_l * LN(s)[patches]      3 x 3, depth-wise
        s = s + gelu(LN(s) W1_l) W2_l                       r -> 2 r -> r

    and the head takes `[class token / 10; mean of LN(s_L); softmax(LN(s_L) w)-weighted
    mean of LN(s_L)]`: the class token, which fits training images early, must not
    keep the side stream from learning. Class and register tokens take part in all
    but the convolution over the patch grid. With several heads, `y M_l`, `y` and
    `y V_l` are split among them.

    `L D r + L (6 r² + 9 r) + r` numbers a task, and `2 r C` more in its head.

    Args:
        rank: int. Width `r` of the side stream. Defaults to `16`.
        num_heads: int. Heads of its attention, which divide the rank. More than
            the default `1` cost time and gained nothing in trials.

    Raises:
        ValueError: if an argument is no integer of at least 1, or `num_heads` does
            not divide `rank`.

    Example:

    >>> task = keras_memvit.TaskSpec(
    ...     "count", 8, readout=keras_memvit.readouts.Side(rank=16))
    """

    name = "side"
    class_token_scale = 0.1
    rank: int = 16
    num_heads: int = 1

    def __post_init__(self):
        require_count(self, "rank")
        require_count(self, "num_heads")
        if self.rank % self.num_heads:
            raise ValueError(
                "`rank` of the readout 'side' must be a multiple of `num_heads`. "
                f"Received: rank={self.rank}, num_heads={self.num_heads}"
            )

    def check(self, backbone):
        grid = getattr(backbone.patch_embedding, "grid_shape", None)
        if grid is None or math.prod(grid) != backbone.num_patches:
            raise ValueError(
                "`readout='side'` needs a backbone whose patches form a grid. "
                f"Received: a backbone of {backbone.num_patches} patches and the grid "
                f"{grid}"
            )

    def parameters(self, spec, backbone):
        layers, width, r = backbone.num_layers, backbone.hidden_dim, self.rank

        def parameter(*shape, stddev=0.02):
            layered = int(len(shape) > 1)  # zeros in a layer leave the stream as it is
            return Parameter(shape, stddev, group="side", parts=layered)

        return {
            "side/input": parameter(layers, width, r, stddev=width**-0.5),
            "side/query": parameter(layers, r, r, stddev=r**-0.5),
            "side/value": parameter(layers, r, r),
            "side/convolution": parameter(layers, 3, 3, r, stddev=0.0),
            "side/expand": parameter(layers, r, 2 * r, stddev=r**-0.5),
            "side/contract": parameter(layers, 2 * r, r),
            "side/pooling": parameter(r),
        }

    def num_features(self, backbone):
        return 2 * self.rank

    def start(self, tasks, backbone, batch):
        def joint(name):
            return ops.stack([task.weights[name] for task in tasks], axis=1)

        weights = {name: joint(name) for name in _LAYERED}  # (L, K, ...)
        return _State(weights, None, backbone.patch_embedding.grid_shape)

    def step(self, tasks, layer, block, base, state):
        w = {name: value[layer] for name, value in state.weights.items()}
        given = ops.cast(w["side/input"], base.normed.dtype)  # (K, D, r)
        s = ops.cast(ops.einsum("btd,kdr->kbtr", base.normed, given), "float32")
        if state.s is not None:
            s = state.s + s
        s = s + self._attend(_norm(s), w)
        s = self._convolve(s, w["side/convolution"], state.grid)
        hidden = ops.gelu(_apply(_norm(s), w["side/expand"]), approximate=False)
        s = s + _apply(hidden, w["side/contract"])
        return dataclasses.replace(state, s=s)

    def _attend(self, x, w):
        """Every token over all, (K, B, T, r)."""
        count, _, tokens, r = x.shape
        heads = (tokens, self.num_heads, r // self.num_heads)
        query, value = _apply(x, w["side/query"]), _apply(x, w["side/value"])
        found = dot_product_attention(
            *(ops.reshape(part, (-1, *heads)) for part in (query, x, value))
        )  # (K B, T, heads, d)
        return ops.reshape(found, (count, -1, tokens, r))

    def _convolve(self, s, kernel, grid):
        """Adds a depth-wise 3 x 3 convolution over the patches of LN(s)."""
        count, _, tokens, r = s.shape
        rows, columns = grid
        front = tokens - rows * columns
        x = _norm(s[:, :, front:])
        x = ops.reshape(x, (count, -1, rows, columns, r))
        x = ops.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
        kernel = kernel[:, :, :, None, None, None]  # (K, 3, 3, 1, 1, 1, r)
        found = 0.0
        for i in range(3):  # shifts: a convolution by groups is slow on a CPU
            for j in range(3):
                part = x[:, :, i : i + rows, j : j + columns]
                found = found + part * kernel[:, i, j]
        found = ops.reshape(found, (count, -1, rows * columns, r))
        found = ops.pad(found, ((0, 0), (0, 0), (front, 0), (0, 0)))
        return s + found

    def features(self, tasks, backbone, state):
        h = _norm(state.s)  # (K, B, T, r)
        pooling = ops.stack([task.weights["side/pooling"] for task in tasks])  # (K, r)
        scores = ops.sum(h * pooling[:, None, None], axis=-1)
        weights = ops.softmax(scores, axis=-1)  # (K, B, T)
        pooled = ops.sum(h * weights[..., None], axis=2)
        joint = ops.concatenate([ops.mean(h, axis=2), pooled], axis=-1)  # (K, B, 2 r)
        return [joint[k] for k in range(len(tasks))]


@dataclasses.dataclass(frozen=True)
class _State:
    weights: dict  # of all tasks, layers first
    s: object  # (K, B, T, r), None before the first layer
    grid: tuple


def _norm(x):
    """Zero mean and unit variance over the last axis, without parameters."""
    mean, variance = ops.moments(x, axes=-1, keepdims=True)
    return (x - mean) * ops.rsqrt(variance + EPSILON)


def _apply(x, weight):
    """(K, B, T, i), (K, i, j) -> (K, B, T, j), one matrix a task for all its images."""
    count, _, tokens, width = x.shape
    y = ops.matmul(ops.reshape(x, (count, -1, width)), weight)
    return ops.reshape(y, (count, -1, tokens, weight.shape[-1]))
