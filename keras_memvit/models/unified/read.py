"""Labelled images of one task, from whatever holds them."""

import numpy as np
from keras import ops

from keras_memvit.models.unified.unified_vit import features_and_logits
from keras_memvit.states.store import StateStore

BATCH_SIZE = 32


def read(model, name, source, argument):
    """Features, labels and logits of a task's images.

    Args:
        model: a `MemoryViT`.
        name: the task.
        source: `(images, labels)`, a `StateStore`, or an iterable of batches
            `(inputs, labels)`, read once.
        argument: what errors call it.

    Returns:
        `(features, labels, logits by task name)`, without the images whose label is
        -1.

    Raises:
        ValueError: if there are no labels of the task, or one is out of range.
    """
    labels = []

    def inputs():
        for batch in _batches(model, source):
            if not isinstance(batch, (list, tuple)) or len(batch) < 2:
                raise _refused(argument, name, "it has no labels")
            labels.append(_labels_of(batch[1], name, argument))
            yield _as_tensors(batch[0])

    features, logits = features_and_logits(model, inputs())
    labels = np.concatenate(labels).astype("int64")
    size = model.task_layers[name].spec.num_classes
    if len(labels) != len(features) or labels.min() < -1 or labels.max() >= size:
        raise _refused(
            argument,
            name,
            f"it must have one label from 0 to {size - 1} an image. Received: "
            f"{len(features)} images and {len(labels)} labels from {labels.min()} to "
            f"{labels.max()}",
        )
    used = labels >= 0
    if not used.any():
        raise _refused(argument, name, "no image has a label")
    logits = {key: value[used] for key, value in logits.items()}
    return features[used], labels[used], logits


def _batches(model, source):
    if isinstance(source, StateStore):
        source.check(model.backbone)
        source = source.batches(BATCH_SIZE)
    if isinstance(source, tuple) and len(source) == 2 and hasattr(source[0], "shape"):
        images, labels = source
        for start in range(0, len(images), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            yield images[part], _sliced(labels, part)
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        for i in range(len(source)):  # a `keras.utils.PyDataset`, or a list
            yield source[i]
    else:
        yield from source


def _sliced(labels, part):
    if isinstance(labels, dict):
        return {name: np.asarray(value)[part] for name, value in labels.items()}
    return np.asarray(labels)[part]


def _labels_of(labels, name, argument):
    if isinstance(labels, dict):
        if name not in labels:
            raise _refused(argument, name, f"it has labels of {sorted(labels)} alone")
        labels = labels[name]
    return np.reshape(ops.convert_to_numpy(labels), -1)


def _as_tensors(inputs):
    if isinstance(inputs, dict):
        return {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    return ops.convert_to_tensor(inputs)


def _refused(argument, name, reason):
    return ValueError(f"`{argument}` of task '{name}': {reason}")
