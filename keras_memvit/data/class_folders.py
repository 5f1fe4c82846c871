"""Labelled image files in folders, one a class; damaged ones are found and named."""

import concurrent.futures
import dataclasses
import pathlib
import warnings

from keras_memvit.data.folder_layout import find_parts
from keras_memvit.data.image_files import FileTree
from keras_memvit.data.image_files import list_folder
from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A file that gives its pixels, uint8 `(h, w, 3)`, when it is called."""

    path: pathlib.Path

    def __call__(self):
        return read_image(self.path)


def from_folder(folder, look=None):
    """`(train, validation or None, class names, skipped)`; see `load`.

    Args:
        folder: a `pathlib.Path` of class folders, or of parts of such.
        look: optional function in place of `defects`.
    """
    look = look or defects
    classes, train, validation, left_out = find_parts(folder)
    if classes is not None:
        found, skipped = _readable(classes, look)
        return _examples(found, list(found)), None, _names(found), skipped
    parts = [_readable(train, look), _readable(validation, look)]
    strange = sorted(set(parts[1][0]) - set(parts[0][0]))
    if strange:
        raise ValueError(
            "`source` must have the same classes to validate as to train. Received "
            f"in {validation.name!r} alone: {strange}"
        )
    names = list(parts[0][0])
    skipped = parts[0][1] + parts[1][1] + left_out
    train, validation = (_examples(found, names) for found, _ in parts)
    return train, validation, _names(names), skipped


def _names(found):
    return [printable(name) for name in found]


def _examples(found, names):
    return [
        (ImageFile(file), names.index(name))
        for name, files in found.items()
        for file in files
    ]


def _readable(folder, look):
    """Class names to the readable images below each, and what was left out."""
    folders, files, others = list_folder(folder)
    others += [(str(file), "in no class folder") for file in files]
    classes = {path.name: FileTree(path) for path in folders}
    _refuse_shared(classes)
    files = [file for tree in classes.values() for file in tree.files]
    reasons = look(files)
    skipped = [(str(file), reason) for file, reason in reasons.items() if reason]
    good = {}
    for path in folders:
        tree = classes[path.name]
        others += tree.left_out
        good[path.name] = [file for file in tree.files if reasons[file] is None]
        if not good[path.name] and tree.readable:
            skipped.append((str(path), "no image in this class"))
    return {name: found for name, found in good.items() if found}, skipped + others


def _refuse_shared(classes):
    """A folder that links bring into two classes."""
    owners = {}
    for name, tree in classes.items():
        for real in tree.folders:
            if owners.setdefault(real, name) != name:
                raise ValueError(
                    "`source` must have every folder in one class. Received "
                    f"{printable(real)} in both {owners[real]!r} and {name!r}"
                )


def defects(files):
    """Why each image file cannot be used, or None, by file; decodes them all."""
    with concurrent.futures.ThreadPoolExecutor() as pool, warnings.catch_warnings():
        # Pillow's, about sizes that `read_image` refuses by itself.
        warnings.filterwarnings("ignore", "Image size", category=Warning)
        return dict(zip(files, pool.map(_defect, files)))


def _defect(file):
    """Why an image file cannot be used, or None."""
    try:
        read_image(file)
    except UnreadableImage as error:
        heif = file.suffix.lower() in (".heic", ".heif")
        hint = "; call pillow_heif.register_heif_opener() first" if heif else ""
        return f"{error}{hint}"
    return None
