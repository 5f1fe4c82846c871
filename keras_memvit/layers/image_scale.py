"""Images in [0, 1], or normalised already, where [0, 255] is meant."""

import warnings

import keras
import numpy as np
from keras import ops

FIRST = 32  # images that are looked at


def looks_scaled(images, numpy=ops):
    """Whether no image of a batch is in [0, 255], a boolean scalar.

    Args:
        images: floats `(B, H, W, 3)`.
        numpy: `keras.ops`, or NumPy for arrays outside of a graph.
    """
    largest, smallest = numpy.max(images), numpy.min(images)
    unit = numpy.logical_and(largest > 0, largest <= 1)
    normalized = numpy.logical_and(smallest < 0, largest <= 5)
    return numpy.logical_or(unit, normalized)


def float_images(x):
    """The images of a model's inputs where these are floats, else None."""
    if isinstance(x, dict):
        x = x.get("images")
    if isinstance(x, (list, tuple)):
        x = x[0] if len(x) == 1 else None
    if x is None or not hasattr(x, "dtype"):
        return None
    is_float = "float" in keras.backend.standardize_dtype(x.dtype)
    return x if is_float and 0 not in tuple(x.shape) else None


def scaled_array(x):
    """Whether these are scaled images in memory; other data shows in the steps."""
    images = float_images(x) if isinstance(x, (np.ndarray, list, dict)) else None
    if not isinstance(images, np.ndarray):
        return False
    return bool(looks_scaled(images[:FIRST], np))


def scaled_batch(x):
    """Whether these are scaled images, a batch of any backend's that has values."""
    images = float_images(x)
    if isinstance(images, np.ndarray):
        return scaled_array(images)
    if images is None or not ops.is_tensor(images):
        return False
    return bool(looks_scaled(images[:FIRST]))


def warn_of_scale(stacklevel):
    """Says that images are not in [0, 255]."""
    warnings.warn(
        "Images must be in [0, 255]: the model normalises them itself. "
        "Received values as of images scaled to [0, 1], or normalised; "
        "multiply by 255, or leave the scaling out",
        stacklevel=stacklevel + 1,
    )
