"""`tf.data` objects, read into memory once: they give no image by its number."""

import functools

import numpy as np

from keras_memvit.data.arrays import label_of_arrays
from keras_memvit.data.found import LABEL
from keras_memvit.data.found import Found
from keras_memvit.data.found import labels_by_image
from keras_memvit.data.hub_datasets import as_pixels
from keras_memvit.data.manifest import of_column
from keras_memvit.tasks.spec import TaskSpec


def is_tf_data(source):
    """Whether this is a `tf.data.Dataset`."""
    return hasattr(source, "element_spec") and hasattr(source, "as_numpy_iterator")


def from_tf_data(train, validation=None, kind="auto"):
    """`Found` of one or two data sets.

    Args:
        train, validation: data sets of `(image, label)`, batches or single examples;
            of dicts with `image`, and `label` or one key a task.
        kind: `"auto"`, a kind of `TaskSpec`, or a dict of such by task name.
    """
    parts = [_read(part) for part in (train, validation) if part is not None]
    counts = [len(images) for images, _ in parts]
    names = list(parts[0][1])
    if any(set(labels) != set(names) for _, labels in parts):
        raise ValueError("`source` must have the same labels in both of its parts")
    class_names = getattr(train, "class_names", None)
    encoded = []
    for name in names:
        values = np.concatenate([labels[name] for _, labels in parts])
        found = label_of_arrays(name, values, sum(counts), of_column(kind, name))
        if class_names is not None and found[0].kind == "single_label":
            spec = TaskSpec(name, len(class_names), class_names=class_names)
            found = spec, found[1]
        encoded.append(found)
    specs = [spec for spec, _ in encoded]
    labels = labels_by_image(specs, [column for _, column in encoded])
    images = [image for part, _ in parts for image in part]
    examples = [(functools.partial(_same, x), y) for x, y in zip(images, labels)]
    held_out = examples[counts[0] :] if len(parts) > 1 else None
    return Found(examples[: counts[0]], held_out, specs, [])


def _same(image):
    return image


def _read(dataset):
    """`(images, labels by task)`: a list of arrays, and a dict of arrays."""
    if int(dataset.cardinality()) == -1:
        raise ValueError(
            "`source` must end after one pass: leave out `.repeat()`. Received an "
            "endless tf.data.Dataset"
        )
    images, labels = [], {}
    for element in dataset.as_numpy_iterator():
        image, targets = _pair(element)
        batched = image.ndim == 4
        images += [as_pixels(x) for x in (image if batched else image[None])]
        for name, value in targets.items():
            value = np.asarray(value)
            labels.setdefault(name, []).append(value if batched else value[None])
    if not images:
        raise ValueError("`source` must not be empty")
    return images, {name: np.concatenate(parts) for name, parts in labels.items()}


def _pair(element):
    if isinstance(element, dict) and "image" in element and len(element) > 1:
        rest = {name: value for name, value in element.items() if name != "image"}
        return element["image"], rest
    if isinstance(element, tuple) and len(element) == 2:
        image, labels = element
        return image, labels if isinstance(labels, dict) else {LABEL: labels}
    raise ValueError(
        "`source` must give (image, label), or dicts with 'image' and labels. "
        f"Received elements of type {type(element).__name__}"
    )
