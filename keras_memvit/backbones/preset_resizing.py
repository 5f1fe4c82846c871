"""How a pretrained preset resizes images, in our terms.

Ours widens the filter when it shrinks an image, as Pillow does and as the weights were
trained; KerasHub's converters leave that out unless `antialias=True`. Enlarged images,
and all with it, are the same but for rounding.
"""

import warnings

from keras_memvit.tasks.resizing import CROP
from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import RESIZINGS

PILLOW = {2: "bilinear", 3: "bicubic"}  # as numbers in `preprocessor_config.json`


def from_image_converter(converter):
    """Of a KerasHub image converter; the default where there is none or no resizing."""
    if converter is None or converter.image_size is None:
        return DEFAULT
    if converter.pad_to_aspect_ratio:
        return _ours("pad_to_aspect_ratio=True")
    return _ours(converter.interpolation, converter.crop_to_aspect_ratio)


def from_preprocessor_config(config):
    """Of a Hugging Face `preprocessor_config.json`.

    Its centre crop becomes the largest one: a margin that it resizes to and then cuts
    away, as DINOv2's 256 to 224 pixels, is kept, as in KerasHub's presets of the same.
    """
    if not config.get("do_resize"):
        return DEFAULT
    resample = config.get("resample", 2)
    known = PILLOW.get(resample) if isinstance(resample, int) else None
    interpolation = known or f"resample={resample!r:.100}"
    return _ours(interpolation, config.get("do_center_crop"))


def _ours(interpolation, crop=False):
    resizing = interpolation + (CROP if crop else "")
    if resizing in RESIZINGS:
        return resizing
    warnings.warn(
        f"The preset resizes images with {interpolation}, which is not taken over: "
        f"tasks learned on it resize as {DEFAULT!r}, or as `data.load(resizing=...)` "
        f"says, one of {RESIZINGS}",
        stacklevel=2,
    )
    return DEFAULT
