"""Arrays in memory as labelled images."""

import functools

import numpy as np

from keras_memvit.data.found import LABEL
from keras_memvit.data.found import Found
from keras_memvit.data.found import labels_by_image
from keras_memvit.data.label_columns import check_kind
from keras_memvit.data.manifest import of_column
from keras_memvit.tasks.spec import TaskSpec


def from_arrays(images, labels, kind="auto"):
    """`Found` of arrays.

    Args:
        images: uint8 `(n, h, w, 3)` or `(n, h, w)`.
        labels: ints or strings `(n,)` are classes (-1 or "" for none), rows `(n, C)`
            of 0, 1 and -1 several answers, floats `(n,)` or `(n, C)` values; or a
            dict of such by task name.
        kind: `"auto"`, a kind of `TaskSpec`, or a dict of such by task name.
    """
    images = np.asarray(images)
    gray = images.ndim == 3
    if not (gray or images.shape[3:] == (3,)) or images.dtype != "uint8":
        raise ValueError(
            "`source` images must be uint8 of shape (n, h, w, 3) or (n, h, w). "
            f"Received: {images.dtype} of shape {images.shape}"
        )
    given = labels if isinstance(labels, dict) else {LABEL: labels}
    encoded = [
        label_of_arrays(name, np.asarray(values), len(images), of_column(kind, name))
        for name, values in given.items()
    ]
    specs = [spec for spec, _ in encoded]
    labels = labels_by_image(specs, [column for _, column in encoded])
    if gray:
        images = np.repeat(images[..., None], 3, axis=-1)
    examples = [
        (functools.partial(images.__getitem__, i), label)
        for i, label in enumerate(labels)
    ]
    return Found(examples, None, specs, [])


def label_of_arrays(name, values, count, kind):
    """`(TaskSpec, labels)` of one task."""
    check_kind(kind)
    whole = values.dtype.kind in "iu"
    if kind == "auto":
        rows = values.ndim == 2 and np.isin(values, (-1, 0, 1)).all()
        floats = values.dtype.kind == "f"
        kind = "multi_label" if rows else "regression" if floats else "single_label"
    if kind == "single_label":
        if values.dtype.kind in "UO" and values.shape == (count,):
            return _named_classes(name, values)
        if values.shape != (count,) or not whole:
            raise _wrong(name, f"integers of shape ({count},)", values)
        number = int(values.max()) + 1 if count else 0
        names = [str(k) for k in range(number)]
        if not names:
            raise ValueError(
                "`source` must have images of at least two classes. "
                f"Received those of {number}: {names}"
            )
        return TaskSpec(name, number, class_names=names), [int(y) for y in values]
    if kind == "regression":
        legal = values.shape[:1] == (count,) and values.ndim < 3
        if not legal or values.dtype.kind not in "iuf":
            raise _wrong(name, f"numbers of shape ({count},) or ({count}, C)", values)
        values = values.reshape(count, -1).astype("float32")
        if np.isinf(values).any():
            raise _wrong(name, "finite numbers, or NaN for no label", values)
        return TaskSpec(name, values.shape[1], kind=kind), list(values)
    legal = values.ndim == 2 and len(values) == count and values.dtype.kind in "biuf"
    if not legal or not np.isin(values, (-1, 0, 1)).all():
        raise _wrong(name, f"0, 1 or -1 (not known) of shape ({count}, C)", values)
    return TaskSpec(name, values.shape[1], kind=kind), list(values.astype("float32"))


def _named_classes(name, values):
    if not all(isinstance(value, str) for value in values):
        raise _wrong(name, "integers or strings", values)
    names = sorted(set(values) - {""})
    number = {"": -1} | {each: i for i, each in enumerate(names)}
    if not names:
        raise _wrong(name, "strings that are not all empty", values)
    spec = TaskSpec(name, len(names), class_names=list(map(str, names)))
    return spec, [number[value] for value in values]


def _wrong(name, legal, values):
    what = "" if name == LABEL else f" of '{name}'"
    return ValueError(
        f"`source` labels{what} must be {legal}. "
        f"Received: {values.dtype} of shape {values.shape}"
    )
