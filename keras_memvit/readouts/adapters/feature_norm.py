"""A task's own scale and shift on the norms that its tokens pass."""

from keras_memvit.readouts.adapters.adapter import Adapter

PREFIX = "feature_norm/"
PLACES = ("norm1", "norm2")  # before attention, before the MLP


class FeatureNorm(Adapter):
    """`(1 + s) * y + t` behind both norms of each layer.

    The class token passes both; memory passes the one before attention, where
    `memory_norm` says that it passes any. `s` and `t` start as zeros, and weight decay
    draws the scale to 1. `4 L D` numbers a task.

    Reference:
        - [Masana et al., 2021](https://arxiv.org/abs/2001.08714), the task-specific
          feature normalisation of ternary feature masks
    """

    def shapes(self, rank, backbone):
        shape = (len(PLACES), backbone.hidden_dim)
        return {"scale": (shape, 0.0), "shift": (shape, 0.0)}

    def scale(self, w, place):
        return 1.0 + w["scale"][:, PLACES.index(place)] if place in PLACES else None

    def bias(self, w, place):
        return w["shift"][:, PLACES.index(place)] if place in PLACES else None
