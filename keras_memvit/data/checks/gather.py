"""Every labelled picture of a source, in all its parts."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import numpy as np

from keras_memvit.data.class_folders import ImageFile
from keras_memvit.data.folder_layout import ROLES
from keras_memvit.data.folder_layout import find_parts
from keras_memvit.data.image_files import FileTree
from keras_memvit.data.image_files import list_folder
from keras_memvit.data.image_files import printable
from keras_memvit.data.load import LabelledImages
from keras_memvit.data.load import load

WHOLE = "all"  # the part of a source that has no parts


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture: its name, where it stands, its label and how to get its pixels."""

    file: str
    part: str
    label: int
    read: Callable[[], np.ndarray]


@dataclasses.dataclass
class Gathered:
    """All pictures of a source.

    Attributes:
        pictures: list of `Picture`.
        class_names: list of str.
        parts: list of str, the names of the parts.
        left_out: list of `(path, reason)`.
    """

    pictures: list[Picture]
    class_names: list[str]
    parts: list[str]
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def gather(source):
    """The `Gathered` of what `check` takes."""
    if isinstance(source, dict):
        return _from_parts(source)
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        return _from_folder(pathlib.Path(source))
    if isinstance(source, (tuple, list)):
        return _from_parts({WHOLE: source})
    if not isinstance(source, LabelledImages):
        source = load(source, augment=None)  # refuses what is no source
    kinds = {task.name: task.kind for task in source.tasks}
    if kinds and list(kinds.values()) != ["single_label"]:
        raise ValueError(
            "`source` must have one label an image, a class; of a manifest choose it "
            f"with `data.load(..., columns=[name])`. Received the tasks {kinds}"
        )
    parts = {"train": source.train, "validation": source.validation}
    parts = {part: images for part, images in parts.items() if images is not None}
    pictures = [
        Picture(str(getattr(read, "path", f"{part} {i}")), part, int(label), read)
        for part, images in parts.items()
        for i, (read, label) in enumerate(images.examples)
    ]
    names = list(source.class_names)
    return Gathered(pictures, names, list(parts), left_out=source.skipped)


def _from_parts(parts):
    pictures = []
    for part, arrays in parts.items():
        images, labels = _checked(part, arrays)
        for i, label in enumerate(labels.tolist()):
            read = functools.partial(_rgb, images, i)
            name = f"image {i}" if part == WHOLE else f"{part} {i}"
            pictures.append(Picture(name, part, label, read))
    if not pictures:
        raise ValueError("`source` must hold images. Received none")
    highest = max(picture.label for picture in pictures)
    return Gathered(pictures, [str(k) for k in range(highest + 1)], list(parts))


def _checked(part, arrays):
    what = "`source`" if part == WHOLE else f"`source[{part!r}]`"
    if not isinstance(arrays, (tuple, list)) or len(arrays) != 2:
        raise ValueError(
            f"{what} must be arrays (images, labels). "
            f"Received one of type {type(arrays).__name__}"
        )
    images, labels = map(np.asarray, arrays)
    if images.dtype != "uint8" or not (images.ndim == 3 or images.shape[3:] == (3,)):
        raise ValueError(
            f"{what} images must be uint8 of shape (n, h, w, 3) or (n, h, w). "
            f"Received: {images.dtype} of shape {images.shape}"
        )
    good = labels.shape == images.shape[:1] and labels.dtype.kind in "iu"
    if not good or (len(labels) and labels.min() < 0):
        raise ValueError(
            f"{what} labels must be integers from 0 of shape ({len(images)},). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return images, labels


def _rgb(images, i):
    image = images[i]
    return np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image


def _from_folder(folder):
    classes, train, held_out, left_out = find_parts(folder)
    parts = {WHOLE: classes}
    if classes is None:
        parts = {path.name: path for path in (train, held_out, *_others(folder))}
        left_out = [
            (p, why) for p, why in left_out if pathlib.Path(p).name not in parts
        ]
    trees = {}
    for part, path in parts.items():
        folders, files, others = list_folder(path)
        left_out += others + [(str(file), "in no class folder") for file in files]
        trees[part] = {inner.name: FileTree(inner) for inner in folders}
    names = sorted({name for part in trees.values() for name in part})
    if len(names) < 2:
        raise ValueError(
            "`source` must have folders of at least two classes. Received "
            f"{list(map(printable, names))} in {printable(folder)}"
        )
    pictures = []
    for part, found in trees.items():
        for name, tree in found.items():
            left_out += tree.left_out
            label = names.index(name)
            for file in tree.files:
                pictures.append(Picture(str(file), part, label, ImageFile(file)))
    if not pictures:
        raise ValueError(
            f"`source` must hold images. Received {printable(folder)} without any"
        )
    return Gathered(
        pictures, list(map(printable, names)), list(parts), left_out=left_out
    )


def _others(folder):
    """Parts that `load` leaves alone, such as a test part beside one to validate."""
    known = {name for names in ROLES.values() for name in names}
    return [
        path
        for path in list_folder(folder)[0]
        if path.name.casefold() in known and list_folder(path)[0]
    ]
