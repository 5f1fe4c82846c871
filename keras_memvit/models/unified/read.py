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
        for batch in batches_of(model, source):
            if not isinstance(batch, (list, tuple)) or len(batch) < 2:
                raise _refused(argument, name, "it has no labels")
            own = _labels_of(batch[1], name, argument)
            if len(own) != _length(batch[0]):
                raise _refused(
                    argument,
                    name,
                    "it must have one label an image. Received: "
                    f"{_length(batch[0])} images and {len(own)} labels in a batch",
                )
            used = own != -1
            labels.append(own[used])
            if used.any():
                yield _rows(batch[0], used)

    found = features_and_logits(model, inputs())
    if found is None:
        raise _refused(argument, name, "no image has a label")
    labels = np.concatenate(labels).astype("int64")
    size = model.task_layers[name].spec.num_classes
    if labels.min() < 0 or labels.max() >= size:
        raise _refused(
            argument,
            name,
            f"labels must be from 0 to {size - 1}, or -1 for none. Received: labels "
            f"from {labels.min()} to {labels.max()}",
        )
    features, logits = found
    return features, labels, logits


def batches_of(model, source):
    """Batches of what `data` may be: arrays, a `StateStore`, a data set."""
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


def _length(inputs):
    return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)


def _rows(inputs, used):
    """The images that have a label, as tensors."""
    if isinstance(inputs, dict):
        return {name: _rows(value, used) for name, value in inputs.items()}
    if not used.all():
        inputs = ops.convert_to_numpy(inputs)[used]
    return ops.convert_to_tensor(inputs)


def _refused(argument, name, reason):
    return ValueError(f"`{argument}` of task '{name}': {reason}")
