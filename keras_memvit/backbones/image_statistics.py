"""Mean and standard deviation that belong to pretrained weights."""

import numpy as np

INCEPTION = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
CLIP = (
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def from_image_converter(converter):
    """`(mean, std)` on the [0, 1] scale of a KerasHub image converter.

    The converter computes `x * scale + offset` on [0, 255]; the same as
    `(x / 255 - mean) / std` with `std = 1 / (255 scale)`, `mean = -offset std`.
    Returns None where there is no converter or it does not scale.
    """
    if converter is None or converter.scale is None:
        return None
    std = 1.0 / (255.0 * np.broadcast_to(np.asarray(converter.scale, "float64"), (3,)))
    offset = (
        0.0 if converter.offset is None else np.asarray(converter.offset, "float64")
    )
    return list(map(float, -offset * std)), list(map(float, std))


def from_preprocessor_config(config):
    """`(mean, std)` of a Hugging Face `preprocessor_config.json`, or None."""
    if "image_mean" not in config or "image_std" not in config:
        return None
    return list(config["image_mean"]), list(config["image_std"])
