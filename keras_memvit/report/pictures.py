"""Pictures inside the page, and attention drawn over them."""

import base64
import io

import numpy as np

from keras_memvit.data.crops import kept
from keras_memvit.data.crops import resize
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.plot.figures import class_token_attention

LONGEST = 224  # pixels of a side in the page
SMALL = 64  # up to this side, pixels are kept and shown as squares
BATCH = 8

# Attention from none to the most: black, violet, orange, yellow.
RAMP = np.array([[10, 8, 40], [120, 28, 110], [240, 110, 30], [255, 240, 130]], float)


def readable(evidence, rows, most):
    """`[(row, pixels)]` of the first rows whose pictures can be read."""
    found = []
    for row in rows:
        if len(found) == most:
            break
        try:
            found.append((int(row), evidence.read(int(row))))
        except (UnreadableImage, OSError):  # vanished since it was learned from
            continue
    return found


def attention_maps(model, task, pictures):
    """Where a task's class token looks: the mean over heads of the later layers.

    Args:
        model: a `MemoryViT`.
        task: str.
        pictures: list of uint8 `(h, w, 3)`.

    Returns:
        List of floats `(rows, columns)` of patches, from 0 to 1.
    """
    backbone = model.backbone
    resizing = _resizing(model, task)
    grid, maps = backbone.patch_embedding.grid_shape, []
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        size = backbone.image_shape[:2]
        images = np.stack([resize(p, size, resizing) for p in some])
        weights = class_token_attention(model, images, task)["base"]  # (B, L, H, T)
        later = weights[:, backbone.num_layers // 2 :].mean((1, 2))
        maps += [_spread(one) for one in later[:, backbone.num_base_tokens :]]
    return [one.reshape(grid) for one in maps]


def as_seen(model, task, pictures):
    """Pictures without what resizing them for the task cuts away."""
    how = (model.backbone.image_shape[:2], _resizing(model, task))
    return [kept(pixels, *how) for pixels in pictures]


def _resizing(model, task):
    return next(spec.resizing for spec in model.specs if spec.name == task)


def _spread(weights):
    """From 0 to 1; the strongest hundredth may not hide all others."""
    weights = weights - weights.min()
    return np.clip(weights / max(np.quantile(weights, 0.98), 1e-12), 0, 1)


def drawn_over(pixels, attention):
    """A picture, dark where attention is low and warm where it is high.

    Args:
        pixels: uint8 `(h, w, 3)`.
        attention: floats `(rows, columns)` from 0 to 1.

    Returns:
        uint8, the picture at its size in the page.
    """
    from PIL import Image

    pixels = _sized(pixels, LONGEST)
    height, width = pixels.shape[:2]
    weights = Image.fromarray(attention.astype("float32"))
    weights = weights.resize((width, height), Image.Resampling.BICUBIC)
    weights = np.clip(np.asarray(weights), 0, 1)[..., None]
    stops = np.linspace(0, 1, len(RAMP))
    colour = [np.interp(weights[..., 0], stops, channel) for channel in RAMP.T]
    grey = pixels.mean(-1, keepdims=True)
    share = 0.35 + 0.15 * weights
    mixed = (1 - share) * (0.5 * grey + 0.5 * pixels) + share * np.stack(colour, -1)
    return np.round(mixed).clip(0, 255).astype("uint8")


def data_uri(pixels):
    """A picture as the text of an `src`, made small first."""
    from PIL import Image

    pixels = _sized(pixels)
    file = io.BytesIO()
    kind = "PNG" if max(pixels.shape[:2]) <= SMALL else "JPEG"
    Image.fromarray(pixels).save(file, kind, quality=86)
    words = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{words}"


def _sized(pixels, least=1):
    """With a longest side of at least `least` and at most `LONGEST` pixels."""
    from PIL import Image

    height, width = pixels.shape[:2]
    factor = max(least / max(height, width), 1.0) * min(LONGEST / max(height, width), 1)
    if factor == 1.0:
        return np.ascontiguousarray(pixels)
    size = [max(1, round(factor * side)) for side in (height, width)]
    if factor < 1:
        return resize(pixels, size)
    image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(image)
