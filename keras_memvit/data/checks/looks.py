"""What one decoding of a picture leaves to compare it by."""

import concurrent.futures
import dataclasses
import hashlib
import warnings

import numpy as np

from keras_memvit.data.crops import resize
from keras_memvit.data.pictures import UnreadableImage

SIDE = 32  # of the small picture


@dataclasses.dataclass(frozen=True)
class Look:
    """A picture's size, what its pixels hash to, and the picture made small.

    Attributes:
        size: `(height, width)`.
        content: bytes, the same for the same pixels only.
        small: uint8 `(32, 32, 3)`.
    """

    size: tuple[int, int]
    content: bytes
    small: np.ndarray


def look_at(pictures):
    """A `Look` of every picture, or the reason, a str, why there is none."""
    with concurrent.futures.ThreadPoolExecutor() as pool, warnings.catch_warnings():
        # Pillow's, about sizes that `read_image` refuses by itself.
        warnings.filterwarnings("ignore", "Image size", category=Warning)
        return list(pool.map(_look, pictures))


def _look(picture):
    try:
        pixels = picture.read()
    except UnreadableImage as error:
        return str(error)
    content = hashlib.sha256(f"{pixels.shape}".encode())
    content.update(np.ascontiguousarray(pixels))
    return Look(pixels.shape[:2], content.digest(), resize(pixels, (SIDE, SIDE)))
