"""(IA)^3: scales of keys, values and the MLP's hidden layer."""

from keras_memvit.readouts.adapters.adapter import Adapter
from keras_memvit.readouts.adapters.adapter import sizes


class IA3(Adapter):
    """`1 + w` times the keys and values of base tokens and the MLP's hidden layer.

    `w` starts as zeros, and weight decay draws the scale to 1. `L (2 D + mlp_dim)`
    numbers a task.

    Reference:
        - [Liu et al., 2022](https://arxiv.org/abs/2205.05638)
    """

    def shapes(self, rank, backbone):
        inner = sizes(backbone)["key"][1]
        widths = {"key": inner, "value": inner, "hidden": backbone.mlp_dim}
        return {place: ((width,), 0.0) for place, width in widths.items()}

    def scale(self, w, place):
        return 1.0 + w[place] if place in w else None
