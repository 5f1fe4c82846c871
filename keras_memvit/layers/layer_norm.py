"""The norms of an encoder block, and one without parameters."""

import keras
from keras import ops

from keras_memvit.layers.direct import is_direct


class LayerNorm(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization`, called directly where that is the same."""

    def __call__(self, inputs, *args, **kwargs):
        if self.built and is_direct(self, self.gamma, inputs):
            return self.call(inputs)
        return super().__call__(inputs, *args, **kwargs)


def normalised(x, epsilon=1e-6):
    """Zero mean and unit variance over the last axis, without parameters."""
    return ops.layer_normalization(x, epsilon=epsilon)
