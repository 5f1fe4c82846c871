"""Labelled image files in folders, one a class; damaged ones are found and named."""

import concurrent.futures
import functools
import warnings

from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
HELD_OUT = ("validation", "val", "test")


def from_folder(folder):
    """`(train, validation or None, class names, skipped)`; see `load`.

    Args:
        folder: a `pathlib.Path` of class folders; or of folders `train` and
            `validation` (`val`, `test`) of such.
    """
    held_out = [folder / name for name in HELD_OUT if (folder / name).is_dir()]
    if not ((folder / "train").is_dir() and held_out):
        found, skipped = _readable(folder)
        return _examples(found, list(found)), None, list(found), skipped
    train, skipped = _readable(folder / "train")
    validation, more = _readable(held_out[0])
    strange = sorted(set(validation) - set(train))
    if strange:
        raise ValueError(
            "`source` must have the same classes to validate as to train. Received "
            f"in {held_out[0].name!r} alone: {strange}"
        )
    names = list(train)
    parts = (_examples(part, names) for part in (train, validation))
    return *parts, names, skipped + more


def _examples(found, names):
    return [
        (functools.partial(read_image, file), names.index(name))
        for name, files in found.items()
        for file in files
    ]


def _readable(folder):
    """Class names to the readable images below each, and what was left out."""
    classes = {
        path.name: sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES and file.is_file()
        )
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    files = [file for found in classes.values() for file in found]
    with concurrent.futures.ThreadPoolExecutor() as pool, warnings.catch_warnings():
        # Pillow's, about sizes that `read_image` refuses by itself.
        warnings.filterwarnings("ignore", "Image size", category=Warning)
        reasons = dict(zip(files, pool.map(_defect, files)))
    skipped = [(str(file), reason) for file, reason in reasons.items() if reason]
    good = {
        name: [file for file in found if reasons[file] is None]
        for name, found in classes.items()
    }
    empty = [name for name, found in good.items() if not found]
    skipped += [(str(folder / name), "no image in this class") for name in empty]
    return {name: found for name, found in good.items() if found}, skipped


def _defect(file):
    """Why an image file cannot be used, or None."""
    try:
        read_image(file)
    except UnreadableImage as error:
        return str(error)
    return None
