"""Images resized, and cropped at random."""

import math

import numpy as np

from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import interpolation_of
from keras_memvit.tasks.resizing import kept_part

AREA = (0.08, 1.0)  # inception crop: share of the image's area
ASPECT = (3 / 4, 4 / 3)  # and width over height
ROOM = 1 << 24  # pixels that a picture may grow to between the steps of resizing
PADDING = 0.125  # random crop of small images: share of the side, 4 of 32 pixels


def resize(image, size, resizing=DEFAULT, box=None):
    """An image or a part of it, resized with antialiasing.

    A whole image is resized first across and then down, in two steps, because
    Pillow's versions order them differently; a SavedModel does the same. Down comes
    first where a narrow image of great height would fill the memory otherwise.

    Args:
        image: uint8 `(h, w, 3)`.
        size: `(height, width)`.
        resizing: one of `RESIZINGS`.
        box: optional `(left, top, right, bottom)` in pixels, in place of what
            `resizing` cuts away.

    Returns:
        uint8 `(height, width, 3)`.
    """
    from PIL import Image

    if box is None and image.shape[:2] == tuple(size):
        return image
    height, width = size
    resample = Image.Resampling[interpolation_of(resizing).upper()]
    image = Image.fromarray(image if box else kept(image, size, resizing))
    if box is None:
        down = _down_first((image.height, image.width), size)
        between = (image.width, height) if down else (width, image.height)
        image = image.resize(between, resample)
    return np.asarray(image.resize((width, height), resample, box=box))


def kept(image, size, resizing):
    """The part of an image that `resize` looks at."""
    top, left, height, width = kept_part(image.shape[:2], size, resizing)
    return image[top : top + height, left : left + width]


def inception_crop(image, size, rng, resizing=DEFAULT):
    """A random area and aspect ratio of the image, and a random flip.

    Area 8 to 100 %, aspect ratio 3/4 to 4/3, as in the paper's training.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = rng.uniform(*AREA) * height * width
        aspect = math.exp(rng.uniform(*map(math.log, ASPECT)))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            break
    else:  # a very long or high image: its largest square
        w = h = min(width, height)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (left, top, left + w, top + h)
    return _flip(resize(image, size, resizing, box), rng)


def padded_crop(image, size, rng, resizing=DEFAULT):
    """A random crop of the resized, zero-padded image, and a random flip."""
    margins = [max(round(side * PADDING), 1) for side in size]
    image = resize(image, size, resizing)
    padded = np.pad(image, [*((m, m) for m in margins), (0, 0)])
    top, left = (int(rng.integers(0, 2 * m + 1)) for m in margins)
    return _flip(padded[top : top + size[0], left : left + size[1]], rng)


def _flip(image, rng):
    return image[:, ::-1] if rng.random() < 0.5 else image


def _down_first(image_size, size):
    """Whether across first would be larger than `ROOM`, the image and down first."""
    between = image_size[0] * size[1]
    return between > max(ROOM, image_size[0] * image_size[1], size[0] * image_size[1])
