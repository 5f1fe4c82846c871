"""How much of the old output is left once a new task has been learned."""

import numpy as np
from keras import ops

from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unmasked_vit import UnmaskedViT
from keras_memvit.rivals.rival import pooled


def old_output(model, images):
    """What a head trained before the new task would read now, (B, D).

    The class token after the last norm (without one the tokens' mean); where
    the new task's class token took the old one's place, the new one.

    Args:
        model: a `MemoryViT`, an `UnmaskedViT`, or a model of `recipes.baseline`.
        images: `(B, H, W, 3)` in [0, 255].
    """
    images = ops.convert_to_tensor(images)
    if isinstance(model, UnmaskedViT):
        tokens = model.encoder.encode(images)
        if not model.backbone.use_class_token:
            tokens = tokens[:, 1:]  # the new one took no old one's place
    elif isinstance(model, MemoryViT):
        tokens = model.encoder.base_tokens(images)
    else:
        return model.features(images)
    return pooled(tokens, model.backbone)


def output_change(frozen, model, images):
    """Mean over images of `|f' - f| / |f|`: 0 = nothing is forgotten.

    Args:
        frozen: the `ViTBackbone` before training, in the model's precision.
        model, images: see `old_output`; `f'` is the old output now.

    Returns:
        A float.
    """
    before = pooled(frozen(ops.convert_to_tensor(images)), frozen)
    before, after = (
        ops.convert_to_numpy(ops.cast(x, "float32"))
        for x in (before, old_output(model, images))
    )
    change = np.linalg.norm(after - before, axis=-1)
    return float(np.mean(change / np.linalg.norm(before, axis=-1)))
