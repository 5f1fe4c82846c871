"""Image files of every kind as uint8 RGB arrays, and random crops of them."""

import math

import numpy as np

MAX_PIXELS = 50_000_000  # larger ones are not decoded: 150 MB of RGB each
AREA = (0.08, 1.0)  # inception crop: share of the image's area
ASPECT = (3 / 4, 4 / 3)  # and width over height
PADDING = 0.125  # random crop of small images: share of the side, 4 of 32 pixels


class UnreadableImage(ValueError):
    """An image file that cannot be used; the message says why."""


def read_image(file):
    """Decodes an image file to RGB as a person would see it.

    Turned as its EXIF says; transparent pixels are white; 16-bit values are
    scaled; CMYK, palette and gray images are converted.

    Args:
        file: a path or a binary file.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        UnreadableImage: if it is no whole image, or has more than
            `MAX_PIXELS`.
    """
    from PIL import Image
    from PIL import ImageOps

    try:
        with Image.open(file) as image:
            if math.prod(image.size) > MAX_PIXELS:
                raise UnreadableImage(f"it has {image.width} x {image.height} pixels")
            return np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
    except UnreadableImage:
        raise
    # Pillow raises whatever its decoders run into.
    except Exception as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _as_rgb(image):
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more
        values = np.asarray(image, dtype="float64")
        scale = 255.0 / 65535.0 if values.max(initial=0.0) > 255 else 1.0
        values = np.clip(values * scale, 0, 255).round().astype("uint8")
        return Image.fromarray(values).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def resize(image, size, box=None):
    """A part of an image, resized bilinearly with antialiasing.

    Args:
        image: uint8 `(h, w, 3)`.
        size: `(height, width)`.
        box: optional `(left, top, right, bottom)` in pixels.

    Returns:
        uint8 `(height, width, 3)`.
    """
    from PIL import Image

    if box is None and image.shape[:2] == tuple(size):
        return image
    height, width = size
    resample = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((width, height), resample, box=box))


def inception_crop(image, size, rng):
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
    return _flip(resize(image, size, (left, top, left + w, top + h)), rng)


def padded_crop(image, size, rng):
    """A random crop of the resized, zero-padded image, and a random flip."""
    margins = [max(round(side * PADDING), 1) for side in size]
    padded = np.pad(resize(image, size), [*((m, m) for m in margins), (0, 0)])
    top, left = (int(rng.integers(0, 2 * m + 1)) for m in margins)
    return _flip(padded[top : top + size[0], left : left + size[1]], rng)


def _flip(image, rng):
    return image[:, ::-1] if rng.random() < 0.5 else image
