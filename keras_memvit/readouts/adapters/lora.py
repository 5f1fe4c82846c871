"""LoRA: low-rank changes of the query and value projections."""

from keras import ops

from keras_memvit.layers.reshape import reshape
from keras_memvit.readouts.adapters.adapter import Adapter
from keras_memvit.readouts.adapters.adapter import sizes

PLACES = ("query", "value")


class LoRA(Adapter):
    """`W + A B` for queries and for the values of base tokens, `A` of `rank` columns.

    `B` starts as zeros. `4 L r D` numbers a task.

    Reference:
        - [Hu et al., 2021](https://arxiv.org/abs/2106.09685)
    """

    def shapes(self, rank, backbone):
        found = {}
        for place in PLACES:
            taken, given = sizes(backbone)[place]
            found[f"{place}/down"] = ((taken, rank), taken**-0.5)
            found[f"{place}/up"] = ((rank, given), 0.0)
        return found

    def delta(self, w, place, x):
        if place not in PLACES:
            return None
        x = ops.einsum("bkni,kir->bknr", x, w[f"{place}/down"])
        return ops.einsum("bknr,kro->bkno", x, w[f"{place}/up"])

    def delta_by_head(self, w, place, x, heads):
        x = ops.einsum("bkhi,kir->bkhr", x, w[f"{place}/down"])
        up = w[f"{place}/up"]
        up = reshape(up, (*up.shape[:2], heads, up.shape[2] // heads))
        return ops.einsum("bkhr,krhd->bkhd", x, up)
