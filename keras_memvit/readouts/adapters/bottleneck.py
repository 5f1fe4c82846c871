"""Bottlenecks behind attention and MLP."""

from keras import ops

from keras_memvit.readouts.adapters.adapter import Adapter

PLACES = ("attended", "mlp")


class Bottleneck(Adapter):
    """`y + gelu(y A + a) B + b` behind attention and behind the MLP, of width `rank`.

    `B` and `b` start as zeros. `2 L (2 r D + r + D)` numbers a task.

    Reference:
        - [Yuan et al., 2020](https://arxiv.org/abs/2001.04253), PeterRec's patches
        - [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751)
    """

    def shapes(self, rank, backbone):
        width = backbone.hidden_dim
        one = {
            "down": ((width, rank), width**-0.5),
            "down_bias": ((rank,), 0.0),
            "up": ((rank, width), 0.0),
            "up_bias": ((width,), 0.0),
        }
        return {f"{place}/{name}": s for place in PLACES for name, s in one.items()}

    def delta(self, w, place, x):
        if place not in PLACES:
            return None
        x = ops.einsum("bkni,kir->bknr", x, w[f"{place}/down"])
        x = ops.gelu(x + w[f"{place}/down_bias"][:, None], approximate=False)
        return ops.einsum("bknr,kro->bkno", x, w[f"{place}/up"])

    def bias(self, w, place):
        return w.get(f"{place}/up_bias")
