"""Image files of every kind as uint8 RGB arrays."""

import math

import numpy as np

from keras_memvit.data.colours import to_rgb
from keras_memvit.data.pixel_room import PixelRoom

MAX_PIXELS = 50_000_000  # larger ones are not decoded: 150 MB of RGB each
MAX_SIDE = 1_000_000  # weights of resizing are several times a side
# The decoders that files may reach: Pillow has some that start other programs.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
ORIENTATION = 0x0112  # the EXIF tag

# What all threads of the process decode at one time.
_ROOM = PixelRoom(MAX_PIXELS)


class UnreadableImage(ValueError):
    """An image file that cannot be used; the message says why."""


def read_image(file):
    """Decodes an image file to RGB as a person would see it.

    Turned as its EXIF says; transparent pixels are white; 16-bit values keep
    their high byte; CMYK, palette and gray images are converted. JPEG and PNG
    files give the pixels that a SavedModel's `..._bytes` signatures decode.

    Args:
        file: a path or a binary file.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        UnreadableImage: if it is no whole image of one of `FORMATS`, has more
            than `MAX_PIXELS` or a side of more than `MAX_SIDE`, or values of a scale
            that the file does not say.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=_formats()) as image:
            pixels = math.prod(image.size)
            if pixels > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise UnreadableImage(f"it has {image.width} x {image.height} pixels")
            with _ROOM.taken(pixels):
                return _turned(to_rgb(image), _orientation(image))
    except UnreadableImage:
        raise
    except OSError as error:
        raise UnreadableImage(_reason(error)) from error
    except Exception as error:  # Pillow raises whatever its decoders run into
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _formats():
    """Those of `FORMATS` that this Pillow has, HEIF where a plugin is registered."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _reason(error):
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"no whole image of the formats {', '.join(_formats())}"
    return f"{type(error).__name__}: {error.strerror or error}"


def _orientation(image):
    """The EXIF orientation, 1 to 8, of a loaded image; XMP is not asked."""
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return exif.get(ORIENTATION, 1)
    except Exception:  # damaged EXIF: the pixels are whole
        return 1


def _turned(pixels, orientation):
    """Pixels `(h, w, 3)` as their EXIF orientation means them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
