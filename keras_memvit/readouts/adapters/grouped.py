"""Grouped connections: sparse changes of all projections of a block."""

from keras import ops

from keras_memvit.layers.reshape import reshape
from keras_memvit.readouts.adapters.adapter import Adapter
from keras_memvit.readouts.adapters.adapter import sizes


class Grouped(Adapter):
    """`W + P blockdiag(w)` and a bias, for all six projections of a block.

    `P` is the channel shuffle `(g, n) -> (n, g)` of `g = D / rank` groups; each group
    takes `n` shuffled channels, `rank` of a token's `D`, and gives as many as there
    are for it. Keys and values are those of base tokens. All starts as zeros.

    `L (sum(in out) / g + sum(out))` numbers a task, which is
    `L (12 D^2 / g + 9 D)` where the MLP is four times as wide.

    Reference:
        - [Hao et al., 2023](https://arxiv.org/abs/2305.00603), Consolidator
    """

    def shapes(self, rank, backbone):
        groups, rest = divmod(backbone.hidden_dim, rank)
        widths = sizes(backbone)
        if rest or any(n % groups for pair in widths.values() for n in pair):
            raise ValueError(
                "`adapter_rank` of the adapter 'grouped' must divide the backbone's "
                f"hidden_dim={backbone.hidden_dim} into groups that divide the widths "
                f"{widths}. Received: adapter_rank={rank}"
            )
        found = {}
        for place, (taken, given) in widths.items():
            shape = (groups, taken // groups, given // groups)
            found[f"{place}/kernel"] = (shape, 0.0)
            found[f"{place}/bias"] = ((given,), 0.0)
        return found

    def delta(self, w, place, x):
        kernel = w.get(f"{place}/kernel")  # (K, g, n, o)
        if kernel is None:
            return None
        groups, inner, outer = kernel.shape[1:]
        x = _transposed(x, groups, inner)  # the shuffle
        x = reshape(x, (-1, *x.shape[1:3], groups, inner))
        y = ops.einsum("bkngm,kgmo->bkngo", x, kernel)
        return reshape(y, (-1, *y.shape[1:3], groups * outer))

    def back(self, w, place, y):
        kernel = w[f"{place}/kernel"]
        groups, inner, outer = kernel.shape[1:]
        y = reshape(y, (-1, *y.shape[1:3], groups, outer))
        x = ops.einsum("bkngo,kgmo->bkngm", y, kernel)
        x = reshape(x, (-1, *x.shape[1:3], groups * inner))
        return _transposed(x, inner, groups)

    def bias(self, w, place):
        return w.get(f"{place}/bias")


def _transposed(x, rows, columns):
    """Channels `(rows, columns)` -> `(columns, rows)`: (B, K, n, C) -> (B, K, n, C)."""
    count, tokens, width = x.shape[1:]
    x = reshape(x, (-1, count, tokens, rows, columns))
    return reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, count, tokens, width))
