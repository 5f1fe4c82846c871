"""Showing that a model still answers as it did before its newest tasks came."""

import keras
import numpy as np

from keras_memvit.tasks.spec import BASE


def largest_differences(model, older, images, batch_size):
    """Per output, the largest difference to what it was.

    Args:
        model: a `MemoryViT`.
        older: a model of the older tasks as they were, or None.
        images: array `(B, H, W, 3)`.
        batch_size: int.

    Returns:
        A dict of floats by output, `"base"` first.
    """
    differences = {BASE: 0.0}
    for start in range(0, len(images), batch_size):
        batch = keras.ops.convert_to_tensor(images[start : start + batch_size])
        beside = model.encoder.base_tokens(batch)
        alone = model.backbone(batch)
        if model.classifier is not None:
            beside, alone = model.classifier(beside), model.classifier(alone)
        differences[BASE] = max(differences[BASE], _difference(beside, alone))
    if older is not None:
        now = model.predict(images, batch_size=batch_size, verbose=0)
        then = older.predict(images, batch_size=batch_size, verbose=0)
        for spec in older.specs:
            differences[spec.name] = _difference(now[spec.name], then[spec.name])
    return differences


def _difference(a, b):
    a, b = (keras.ops.convert_to_numpy(keras.ops.cast(t, "float32")) for t in (a, b))
    return float(np.max(np.abs(a - b)))
