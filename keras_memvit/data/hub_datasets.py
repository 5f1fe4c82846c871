"""Hugging Face `datasets` objects, by what they can do; the package is not needed."""

import functools
import io

import numpy as np

from keras_memvit.data.colours import to_rgb
from keras_memvit.data.folder_layout import ROLES
from keras_memvit.data.found import Found
from keras_memvit.data.found import has_label
from keras_memvit.data.found import labels_by_image
from keras_memvit.data.label_columns import label_column
from keras_memvit.data.manifest import of_column
from keras_memvit.data.manifest import task_columns
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image

IMAGES = ("image", "img", "images")
LABELS = ("label", "labels")


def is_hub_dataset(source):
    """Whether this is a `datasets.Dataset`, or a dict of such by split."""
    if isinstance(source, dict):
        return bool(source) and all(map(is_hub_dataset, source.values()))
    return hasattr(source, "features") and hasattr(source, "column_names")


def from_hub_dataset(source, columns=None, kind="auto"):
    """`Found` of a `Dataset`, or of a `DatasetDict`.

    Args:
        source: as above. Of a dict the part `train` is trained on, and `validation`
            (else `test`) held out.
        columns: the columns that are tasks. Defaults to those of class labels, else
            to `label`.
        kind: of all tasks, or a dict by column; see `label_column`.
    """
    parts = _parts(source if isinstance(source, dict) else {"train": source})
    first = parts["train"]
    features = dict(first.features)
    image = _image_column(features)
    names = list(columns) if columns is not None else _label_columns(features, image)
    names = task_columns("`source`", features, names, besides=(image,))
    where = [f"row {i} of {role}" for role, part in parts.items() for i in _rows(part)]
    encoded = []
    for name in names:
        values = [_plain(value) for part in parts.values() for value in part[name]]
        classes = _class_names(features[name])
        if classes is not None:  # -1 is "no label" there
            values = [None if value == -1 else value for value in values]
        own_kind = of_column(kind, name)
        encoded.append(label_column(name, values, where, own_kind, classes))
    specs = [spec for spec, _ in encoded]
    labels = iter(labels_by_image(specs, [column for _, column in encoded]))
    found, skipped = {}, []
    for role, part in parts.items():
        found[role] = []
        for i in _rows(part):
            label = next(labels)
            if has_label(label, specs):
                read = functools.partial(_read, part, image, i)
                found[role].append((read, label))
            else:
                skipped.append((f"row {i} of {role}", "it has no label"))
    return Found(found["train"], found.get("validation"), specs, skipped)


def _rows(part):
    return range(len(part))


def _parts(source):
    roles = {}
    for name, part in source.items():
        if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
            raise ValueError(
                "`source` must be a data set with random access: load it without "
                f"`streaming=True`. Received: {type(part).__name__}"
            )
        found = (r for r, names in ROLES.items() if name.casefold() in names)
        roles.setdefault(next(found, None), part)
    if "train" not in roles:
        raise ValueError(
            "`source` must have a split 'train', or be one split. "
            f"Received the splits {list(source)}"
        )
    held_out = roles.get("validation", roles.get("test"))
    parts = {"train": roles["train"]}
    return parts if held_out is None else parts | {"validation": held_out}


def _image_column(features):
    found = [name for name, kind in features.items() if _type(kind) == "Image"]
    found += [name for name in IMAGES if name in features]
    if not found:
        raise ValueError(
            "`source` must have a column of images. "
            f"Received the columns {list(features)}"
        )
    return found[0]


def _label_columns(features, image):
    others = {name: kind for name, kind in features.items() if name != image}
    found = [n for n, kind in others.items() if _class_names(kind) is not None]
    found = found or [name for name in LABELS if name in others]
    if not found:
        raise ValueError(
            "`source` has no column of class labels: name those that are labels in "
            f"`columns`. Received the columns {list(others)}"
        )
    return found


def _type(feature):
    return type(feature).__name__


def _class_names(feature):
    """The names of a `ClassLabel`, or of a list of such; else None."""
    inner = feature[0] if isinstance(feature, list) else feature
    inner = getattr(inner, "feature", inner)
    return list(inner.names) if _type(inner) == "ClassLabel" else None


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else value


def _read(part, column, i):
    """Pixels of a row, uint8 `(h, w, 3)`."""
    item = part[i][column]
    if isinstance(item, dict):
        encoded = item.get("bytes")
        return read_image(item["path"] if encoded is None else io.BytesIO(encoded))
    if hasattr(item, "convert"):
        try:
            return to_rgb(item)
        except (OSError, ValueError) as error:
            raise UnreadableImage(str(error)) from error
    return as_pixels(np.asarray(item))


def as_pixels(array):
    """An array of one image as uint8 `(h, w, 3)`.

    Floats must be in [0, 255].
    """
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    legal = array.ndim == 3 and array.shape[-1] == 3 and array.size
    if legal and array.dtype.kind == "f":
        legal = np.isfinite(array).all() and array.min() >= 0 and 1 < array.max() <= 255
        array = np.round(array).astype("uint8") if legal else array
    if not legal or array.dtype != "uint8":
        raise ValueError(
            "`source` images must be uint8, or floats from 0 to 255, of shape "
            f"(h, w, 3) or (h, w). Received: {array.dtype} of shape {array.shape}"
        )
    return array
