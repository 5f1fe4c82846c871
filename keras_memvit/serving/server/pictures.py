"""What requests carry: encoded images or pixels, to what the backbone takes."""

import base64
import binascii
import io

import numpy as np
from PIL import Image

from keras_memvit.data.crops import resize
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image
from keras_memvit.serving.server.errors import RequestError
from keras_memvit.tasks.resizing import DEFAULT


def from_bytes(data, image_shape, max_pixels, what="image", resizing=DEFAULT):
    """An encoded image as `data.load` gives it, uint8 `(H, W, 3)`.

    Raises:
        RequestError: if it is none, or has more pixels than the server takes.
    """
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except Exception:  # whatever Pillow runs into
        width = height = 0
    if width * height > max_pixels:
        raise RequestError(
            413, f"{what} has {width} x {height} pixels; at most {max_pixels} are taken"
        )
    try:
        pixels = read_image(io.BytesIO(data))
    except UnreadableImage as error:
        raise RequestError(400, f"{what} cannot be read: {error}") from None
    return np.asarray(resize(pixels, image_shape[:2], resizing), "uint8")


def from_base64(text, image_shape, max_pixels, what, resizing):
    """The same of a base64 string."""
    if not isinstance(text, str):
        raise RequestError(400, f"{what} must be a base64 string")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{what} is no base64") from None
    return from_bytes(data, image_shape, max_pixels, what, resizing)


def from_numbers(values, image_shape, what):
    """Nested lists or an array as float32 pixels `(H, W, 3)` in [0, 255]."""
    try:
        pixels = np.array(values, "float32")
    except (TypeError, ValueError):
        pixels = np.zeros(0, "float32")
    if pixels.shape != tuple(image_shape) or not np.isfinite(pixels).all():
        raise RequestError(
            400, f"{what} must be finite numbers of the shape {list(image_shape)}"
        )
    return pixels
