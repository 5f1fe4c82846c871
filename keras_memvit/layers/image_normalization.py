"""Images in [0, 255] to what the pretrained weights expect."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_memvit")
class ImageNormalization(keras.layers.Layer):
    """`(x / 255 - mean) / std`, per channel.

    Args:
        mean: list of 3 floats, on the [0, 1] scale.
        std: list of 3 positive floats, on the [0, 1] scale.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        images: images of shape `(B, H, W, 3)` in [0, 255].

    Returns:
        A tensor of the same shape, in the layer's compute dtype.

    Raises:
        ValueError: if a number is not finite, `std` is not positive, or images have
            not three channels.

    Example:

    >>> layer = keras_memvit.layers.ImageNormalization(mean=[0.5] * 3, std=[0.5] * 3)
    >>> images = keras.ops.full((1, 2, 2, 3), 255.0)
    >>> float(keras.ops.max(layer(images)))
    1.0
    """

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # bfloat16 cannot count to 255
        self.mean = _channels("mean", mean)
        self.std = _channels("std", std)
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be positive. Received: std={std}")

    def call(self, images):
        if images.shape[-1] != 3:  # one channel would broadcast to three
            raise ValueError(
                "`images` must have the shape (batch, height, width, 3). "
                f"Received: images of shape {tuple(images.shape)}"
            )
        mean, std = np.array(self.mean), np.array(self.std)
        scale = (1.0 / (255.0 * std)).astype("float32")
        offset = (-mean / std).astype("float32")
        # Not `*` and `+`: on torch they cannot bring NumPy arrays to a GPU.
        images = ops.add(ops.multiply(ops.cast(images, "float32"), scale), offset)
        return ops.cast(images, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(mean=list(self.mean), std=list(self.std))
        return config


def _channels(argument, value):
    """One float, or three, as a list of three."""
    values = np.broadcast_to(np.asarray(value, dtype="float64"), (3,))
    if not np.all(np.isfinite(values)):
        raise ValueError(f"`{argument}` must be finite. Received: {argument}={value}")
    return [float(v) for v in values]
