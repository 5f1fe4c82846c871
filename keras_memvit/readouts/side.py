"""A small network over all base tokens, for what depends on place and number."""

import dataclasses
import math

from keras import ops

from keras_memvit.layers.dot_product_attention import dot_product_attention
from keras_memvit.layers.layer_norm import normalised
from keras_memvit.layers.reshape import reshape
from keras_memvit.readouts.grid_convolution import convolution_weights
from keras_memvit.readouts.grid_convolution import convolve
from keras_memvit.readouts.readout import Parameter
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import register
from keras_memvit.readouts.readout import require_count

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
        joint = {
            name: ops.stack([task.weights[name] for task in tasks], axis=1)
            for name in _LAYERED
        }  # (L, K, ...)
        count, width, _ = joint["side/input"].shape[1:]
        given = ops.transpose(joint["side/input"], (0, 2, 1, 3))
        given = reshape(given, (-1, width, count * self.rank))  # (L, D, K r)
        joint["side/input"] = ops.cast(given, backbone.tokens_dtype)
        grid = backbone.patch_embedding.grid_shape
        kernel = joint.pop("side/convolution")
        weights = {name: ops.unstack(value, axis=0) for name, value in joint.items()}
        weights["side/convolution"] = convolution_weights(kernel, grid[1])
        return _State(weights, grid)

    def step(self, tasks, layer, block, base, state):
        w = {name: values[layer] for name, values in state.weights.items()}
        tokens, width = base.normed.shape[1:]
        x = reshape(base.normed, (-1, width)) @ w["side/input"]
        x = reshape(x, (-1, tokens, len(tasks), self.rank))
        s = ops.cast(ops.transpose(x, (2, 0, 1, 3)), "float32")  # (K, B, T, r)
        if state.s is not None:
            s = state.s + s
        s = s + self._attend(normalised(s), w)
        s = s + self._convolved(s, w["side/convolution"], state.grid)
        hidden = ops.gelu(_apply(normalised(s), w["side/expand"]), approximate=False)
        s = s + _apply(hidden, w["side/contract"])
        return dataclasses.replace(state, s=s)

    def _attend(self, x, w):
        """Every token over all, (K, B, T, r)."""
        count, _, tokens, r = x.shape
        heads = (tokens, self.num_heads, r // self.num_heads)
        query, value = _apply(x, w["side/query"]), _apply(x, w["side/value"])
        found = dot_product_attention(
            *(reshape(part, (-1, *heads)) for part in (query, x, value))
        )  # (K B, T, heads, d)
        return reshape(found, (count, -1, tokens, r))

    def _convolved(self, s, matrices, grid):
        """What the convolution adds, zeros outside of the grid: (K, B, T, r)."""
        count, _, tokens, r = s.shape
        front = tokens - math.prod(grid)
        # Four axes, and the norm of the patches alone: XLA compiles it four times
        # faster than `(K, B T, r)` with the patches cut out of the norm.
        x = reshape(normalised(s[:, :, front:]), (count, -1, *grid, r))
        x = reshape(convolve(x, matrices), (count, -1, tokens - front, r))
        if not front:
            return x
        return ops.concatenate([ops.zeros_like(s[:, :, :front]), x], axis=2)

    def features(self, tasks, backbone, state):
        h = normalised(state.s)  # (K, B, T, r)
        pooling = ops.stack([task.weights["side/pooling"] for task in tasks])  # (K, r)
        scores = ops.sum(h * pooling[:, None, None], axis=-1)
        weights = ops.softmax(scores, axis=-1)  # (K, B, T)
        pooled = ops.sum(h * weights[..., None], axis=2)
        joint = ops.concatenate([ops.mean(h, axis=2), pooled], axis=-1)  # (K, B, 2 r)
        return [joint[k] for k in range(len(tasks))]


@dataclasses.dataclass(frozen=True)
class _State:
    weights: dict  # of all tasks, by name a list with one a layer
    grid: tuple
    s: object = None  # (K, B, T, r), behind the first layer


def _apply(x, weight):
    """(K, B, T, i), (K, i, j) -> (K, B, T, j), one matrix a task for all its images."""
    count, _, tokens, width = x.shape
    y = reshape(x, (count, -1, width)) @ weight
    return reshape(y, (count, -1, tokens, weight.shape[-1]))
