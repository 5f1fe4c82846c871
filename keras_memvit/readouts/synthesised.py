"""Queries made from the image, layer by layer, that run through the frozen blocks."""

import dataclasses

from keras import ops

from keras_memvit.layers.layer_norm import normalised
from keras_memvit.layers.reshape import reshape
from keras_memvit.readouts.readout import Parameter
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import register
from keras_memvit.readouts.readout import require_count


@register
@dataclasses.dataclass(frozen=True)
class Synthesised(Readout):
    """Queries `p_l` (n, D) that each layer makes anew from what the last one found.

    With `n` learned queries `Q_l` a layer, `z_0 = 0`, and the frozen block `l`,

        p_l = Q_l + (1 + s_l) mean(z_(l-1));  p_l = p_l + gelu(p_l A_l) B_l   rank r
        h_l = MHA_l(LN1_l(p_l); base tokens alone)
        m_l = MLP_l(LN2_l(p_l + h_l))
        z_l = p_l + h_l + m_l

    with the block's layer scale, where it has one. A mixer weighs, for each image,
    all that was found: with `x` the `3 L` means over the queries of `z_l`, `h_l` and
    `m_l`, each with zero mean and unit variance as all `LN` here,

        f_i = LN(x_i);  f_i = f_i + gelu(f_i A) B
        w = tanh(gelu(LN(z_L) W + b))
        f = LN(f_(z_L) + sum_i w_i f_i)

    and the head takes `[class token; f]`: `2 D` numbers a class, however many layers
    and queries there are, so that a task of many classes stays small. Base tokens
    see none of this; a gradient runs through the frozen blocks for `n` tokens a task.

    `L n D + 2 L r D + L - 1 + 2 r D + 3 L (D + 1)` numbers a task, and `D C` more in
    its head.

    Args:
        num_query_tokens: int. Queries `n` a layer. Defaults to `1`.
        rank: int. Rank `r` of the maps `A B`. Defaults to `8`.

    Raises:
        ValueError: if an argument is no integer of at least 1.

    Example:

    >>> task = keras_memvit.TaskSpec(
    ...     "birds", 200, readout=keras_memvit.readouts.Synthesised(rank=8))

    Reference:
        - [Zhang et al., 2024](https://arxiv.org/abs/2407.06964), SynQT. Ours: no
          attention among a layer's queries, one map `A B` a layer, without
          biases, norms without parameters, no dropout.
    """

    name = "synthesised"
    num_query_tokens: int = 1
    rank: int = 8

    def __post_init__(self):
        require_count(self, "num_query_tokens")
        require_count(self, "rank")

    @property
    def num_queries(self):
        return self.num_query_tokens

    def parameters(self, spec, backbone):
        layers, width, r = backbone.num_layers, backbone.hidden_dim, self.rank

        def parameter(*shape, stddev=0.0):
            return Parameter(shape, stddev, group="synthesis")

        found = {
            "synthesis/queries": parameter(
                layers, self.num_query_tokens, width, stddev=0.5
            ),
            "synthesis/down": parameter(layers, width, r, stddev=width**-0.5),
            "synthesis/up": parameter(layers, r, width),
            "mixer/down": parameter(width, r, stddev=width**-0.5),
            "mixer/up": parameter(r, width),
            "mixer/kernel": parameter(width, 3 * layers),
            "mixer/bias": parameter(3 * layers),
        }
        if layers > 1:  # before the first layer nothing is found
            found["synthesis/scale"] = parameter(layers - 1)
        return found

    def num_features(self, backbone):
        return backbone.hidden_dim

    def start(self, tasks, backbone, batch):
        names = self.parameters(tasks[0].spec, backbone)
        weights = {
            name: ops.stack([task.weights[name] for task in tasks]) for name in names
        }  # (K, ...)
        for name in names:
            if name.startswith("synthesis/"):
                weights[name] = ops.unstack(weights[name], axis=1)  # a layer each
        return _State(weights, (), ops.zeros((batch, len(tasks), backbone.hidden_dim)))

    def step(self, tasks, layer, block, base, state):
        w = state.weights
        scale = 1.0 if layer == 0 else 1.0 + w["synthesis/scale"][layer - 1][:, None]
        p = w["synthesis/queries"][layer] + (scale * state.found)[:, :, None]
        count, queries, width = p.shape[1:]  # (B, K, n, D)
        p = p + _low_rank(p, w["synthesis/down"][layer], w["synthesis/up"][layer])
        # Through the frozen block in the precision of its tokens.
        p = reshape(ops.cast(p, base.normed.dtype), (-1, count * queries, width))
        read = block.attention.read(block.norm1(p), base)
        h = block.add_attended(0.0, read)
        m = block.add_mlp(0.0, block.mlp(block.norm2(p + h)))

        def mean(x):
            x = reshape(ops.cast(x, "float32"), (-1, count, queries, width))
            return ops.mean(x, axis=2)  # (B, K, D)

        rows = (mean(p + h + m), mean(h), mean(m))
        return dataclasses.replace(state, rows=(*state.rows, *rows), found=rows[0])

    def features(self, tasks, backbone, state):
        w = state.weights
        x = normalised(ops.stack(state.rows, axis=2))  # (B, K, 3 L, D)
        x = x + _low_rank(x, w["mixer/down"], w["mixer/up"])
        given = ops.einsum("bkd,kdi->bki", normalised(state.found), w["mixer/kernel"])
        weights = ops.tanh(ops.gelu(given + w["mixer/bias"], approximate=False))
        mixed = x[:, :, -3] + ops.sum(weights[..., None] * x, axis=2)
        mixed = normalised(mixed)
        return [mixed[:, k] for k in range(len(tasks))]


@dataclasses.dataclass(frozen=True)
class _State:
    weights: dict  # of all tasks, tasks first; "synthesis/..." a list, one a layer
    rows: tuple  # what each layer found, (B, K, D) each
    found: object  # the last layer's tokens, (B, K, D)


def _low_rank(x, down, up):
    """gelu(x A) B of each task: (B, K, i, D), (K, D, r), (K, r, D) -> (B, K, i, D)."""
    hidden = ops.gelu(ops.einsum("bkid,kdr->bkir", x, down), approximate=False)
    return ops.einsum("bkir,krd->bkid", hidden, up)
