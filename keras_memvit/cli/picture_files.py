"""The images that a command line names: files, folders, patterns, standard input."""

import glob
import io
import os
import pathlib
import sys

import numpy as np

from keras_memvit.data.crops import resize
from keras_memvit.data.image_files import FileTree
from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image

STDIN = "-"
_IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")


def find_pictures(names, stdin=None):
    """`(name, file)` of every image; a file is a path or a binary file.

    Args:
        names: files, folders (searched deeply), patterns such as `"new/*.jpg"`, or `-`
            for standard input: an image, or the names of files, one a line.
        stdin: a binary file; defaults to standard input.

    Raises:
        ValueError: if a name leads to nothing.
    """
    found = []
    for name in names:
        if name == STDIN:
            found += _from_stdin(stdin or sys.stdin.buffer)
            continue
        path = pathlib.Path(name).expanduser()
        if path.is_dir():
            files = FileTree(path).files
        elif path.exists():
            files = [path]
        else:
            files = sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
        if not files:
            raise ValueError(f"IMAGES must exist. There is no image at {name}")
        found += [(printable(str(file)), file) for file in files]
    return found


def _from_stdin(stream):
    data = stream.read()
    if data.startswith(_IMAGE_STARTS):
        return [(STDIN, io.BytesIO(data))]
    names = [line for line in data.split(b"\n") if line.strip()]
    if not names:
        raise ValueError("Standard input held neither an image nor names of files")
    # A name that does not exist is reported with the images that cannot be read.
    files = [pathlib.Path(os.fsdecode(name.rstrip(b"\r"))) for name in names]
    return [(printable(str(file)), file) for file in files]


def batches(pictures, image_size, resizing, batch_size):
    """Reads images as batches, resized as `data.load` does.

    Yields:
        `(names, images, errors)`: `images` uint8 `(B, height, width, 3)` of the
        names, and `(name, reason)` of those that could not be read.
    """
    for begin in range(0, len(pictures), batch_size):
        names, images, errors = [], [], []
        for name, file in pictures[begin : begin + batch_size]:
            try:
                images.append(resize(read_image(file), image_size, resizing))
                names.append(name)
            except UnreadableImage as error:
                errors.append((name, str(error)))
        yield names, np.array(images), errors
