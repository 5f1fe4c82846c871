"""What precision the pass of `precompute` runs in."""

import time

import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.states.states_encoder import StatesEncoder

COMPUTE_DTYPES = (None, "bfloat16", "auto")
SECONDS = 1.0  # that each is timed for
GAIN = 0.9  # of the other's time, at which half the digits are worth it


def check_compute_dtype(compute_dtype, dtype, backbone):
    """Raises a `ValueError` unless a store of a `dtype` can be computed so."""
    if compute_dtype not in COMPUTE_DTYPES:
        raise ValueError(
            f"`compute_dtype` must be one of {COMPUTE_DTYPES}. "
            f"Received: compute_dtype={compute_dtype!r}"
        )
    if compute_dtype != "bfloat16":
        return
    if dtype == "float32" or backbone.quantization is not None:
        raise ValueError(
            "`compute_dtype='bfloat16'` is for stores of bfloat16 or int8, of a "
            "backbone that is not quantised. "
            f"Received: dtype={dtype!r}, quantization={backbone.quantization!r}"
        )


def in_bfloat16(backbone):
    """A copy of a `ViTBackbone` that computes in bfloat16."""
    return convert(backbone, dtype="bfloat16")[0]


def faster_dtype(backbone, dtype, batch_size):
    """None for the backbone's own precision, or `"bfloat16"` where that is faster.

    Args:
        backbone: a `ViTBackbone`.
        dtype: str, the store's.
        batch_size: int, of the pass.
    """
    own = backbone.tokens_dtype
    if dtype == "float32" or own != "float32" or backbone.quantization is not None:
        return None
    rng = np.random.default_rng(0)
    shape = (batch_size, *backbone.image_shape)
    images = rng.integers(0, 256, shape, dtype="uint8")
    seconds = [
        _seconds(StatesEncoder(candidate, dtype), images)
        for candidate in (backbone, in_bfloat16(backbone))
    ]
    return "bfloat16" if seconds[1] < GAIN * seconds[0] else None


def _seconds(encoder, images):
    """The least time of a batch, in about a second of tries."""
    encoder.predict_on_batch(images)  # compiles
    least, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        encoder.predict_on_batch(images)
        least = min(least, time.perf_counter() - start)
    return least
