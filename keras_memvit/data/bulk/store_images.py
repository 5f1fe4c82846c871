"""The list of images that a store is of, kept beside it."""

import json
import os

from keras_memvit.files.atomic import write_whole
from keras_memvit.files.locks import folder_locked
from keras_memvit.states.store_card import CARD
from keras_memvit.tasks.resizing import DEFAULT

LIST = "list.jsonl"  # lines `["class/image.png", label]`, in the store's order
NAMED = 5  # differences that an error names


def claim_images(path, source, examples, resizing):
    """Makes a store that of these images, unless it is already.

    Files are listed by their path below `source`, which may have been moved.

    Args:
        path: the store's folder, a `pathlib.Path`.
        source: the images' folder.
        examples: list of `(ImageFile, label)`.
        resizing: str, as of `data.load`; the list's first line where not the default.

    Raises:
        ValueError: if the store is of other images, labels, another order of them or
            another `resizing`.
    """
    rows = [(os.path.relpath(file.path, source), label) for file, label in examples]
    if resizing != DEFAULT:  # lists were of images alone before there was a choice
        rows = [{"resizing": resizing}, *rows]
    rows = [json.dumps(row) for row in rows]
    file = path / LIST
    with folder_locked(path):  # another call may do the same
        if file.exists():
            former = file.read_text().splitlines()
        elif (path / CARD).exists():
            raise ValueError(
                "`path` holds a store that `precompute_folder` did not begin: choose "
                f"an empty folder. Received: {path}"
            )
        else:
            return write_whole(file, "".join(f"{row}\n" for row in rows))
    if former != rows:
        before, now = set(former), set(rows)
        gone = [row for row in former if row not in now][:NAMED]
        new = [row for row in rows if row not in before][:NAMED]
        raise ValueError(
            f"`source` must hold the readable images that the store at {path} was "
            f"begun with, with the same labels: {len(former)}, of which {file.name} "
            f"there is the list. Received: {source} with {len(rows)}; missing: {gone}, "
            f"new: {new}"
        )
