"""A rival as a plain model, for what it learned to be written into its weights."""

import numpy as np
from keras import ops

from keras_memvit.rivals.head import Head


def plain(rival):
    """A head on a backbone of its own, with the weights of a rival's."""
    model = Head(rival.backbone.replicate(), rival.head.units)
    model.build((None, *model.backbone.image_shape))
    copy_head(rival, model)
    return model


def copy_head(rival, other):
    """Gives another rival the head's values: copies, since JAX's `fit` donates."""
    for own, weight in zip(other.head.weights, rival.head.weights, strict=True):
        own.assign(np.array(ops.convert_to_numpy(weight)))
