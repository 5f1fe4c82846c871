"""Pillow images of any mode as RGB, by the arithmetic that serving uses too."""

import functools

import numpy as np

STRIP = 1 << 20  # pixels converted at a time
FLOATS = "its values are floats, whose scale the file does not say: save it as 8 bits"
INTEGERS = "its values are 32-bit or signed integers: save it as 8 or 16 bits"
WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


def to_rgb(image):
    """The pixels of an open image as uint8 `(h, w, 3)`.

    Raises:
        ValueError: if the file does not say which value is white.
    """
    tile = getattr(image, "tile", None)  # of a file, until it is loaded
    rawmode = tile[0][3] if tile else None
    image.load()
    if image.mode == "F":
        raise ValueError(FLOATS)
    if image.mode.startswith("I"):
        return _by_strips(image, _deep_conversion(image))
    if image.mode == "CMYK":
        return _by_strips(image, _from_cmyk)
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        if image.format == "PNG" and image.mode == "L":  # given in the file's bits
            image.info["transparency"] *= {"L;2": 85, "L;4": 17}.get(rawmode, 1)
        return _by_strips(image, _over_white)
    return _by_strips(image, lambda strip: np.asarray(strip.convert("RGB")))


def _deep_conversion(image):
    """16-bit gray: the high byte; a transparent value is white."""
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise ValueError(INTEGERS)
    bits = 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (16,))[0]  # BitsPerSample
    transparent = image.info.get("transparency")
    return functools.partial(_from_deep, shift=bits - 8, transparent=transparent)


def _from_deep(strip, shift, transparent):
    values = np.asarray(strip)
    gray = np.clip(values >> shift, 0, 255).astype("uint8")
    if transparent is not None:
        gray[values == transparent] = 255
    return gray[..., None]


def _from_cmyk(strip):
    ink = 255 - np.asarray(strip).astype("uint16")
    return ink[..., :3] * ink[..., 3:] // 255


def _over_white(strip):
    """`color * alpha + white * (1 - alpha)`, rounded; at most 65,152 on the way."""
    pixels = np.asarray(strip.convert("RGBA")).astype("uint16")
    colors, alpha = pixels[..., :3], pixels[..., 3:]
    return (colors * alpha + (255 - alpha) * 255 + 127) // 255


def _by_strips(image, convert):
    """`convert` of some rows at a time, so that wide types need little memory."""
    width, height = image.size
    found = np.empty((height, width, 3), "uint8")
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        found[top:bottom] = convert(image.crop((0, top, width, bottom)))
    return found
