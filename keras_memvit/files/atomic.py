"""Writing a file so that, killed at any moment, the old one or the new one is there."""

import contextlib
import json
import os
import pathlib

from keras_memvit.files.leftovers import sweep
from keras_memvit.files.leftovers import temporary_name
from keras_memvit.files.locks import is_at
from keras_memvit.files.locks import lock


@contextlib.contextmanager
def open_whole(path, mode="wb", **options):
    """A file to write that takes the place of `path` once it is closed.

    Written under another name in the same folder, flushed to the disk and
    renamed; what killed writers left in that folder is deleted. Permissions are
    those that the process gives any new file.

    Args:
        path: the file; a former one is replaced in one step.
        mode: `"wb"` or `"w"`.
        **options: further arguments of `open`.

    Returns:
        A context manager that gives the open file. After an exception inside
        it the old file is as it was, and nothing else is left.

    Example:

    ```python
    with open_whole("table.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    ```
    """
    path = pathlib.Path(path)
    sweep(path.parent)
    temporary, file = _open_temporary(path.parent, mode.replace("w", "x"), options)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name != "nt":  # renamed while it is locked
                os.replace(temporary, path)
        if os.name == "nt":
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path, content):
    """Writes bytes, or text as UTF-8, by `open_whole`."""
    with open_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path, content):
    """Writes what JSON can hold by `open_whole`."""
    write_whole(path, json.dumps(content, indent=1))


def sync_file(path):
    """Waits until a file's content is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder):
    """Makes a folder's new names outlive a loss of power, where that can be asked."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some network file systems
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_temporary(folder, mode, options):
    """A new file that no sweep takes: its path and the file, locked."""
    while True:
        path = temporary_name(folder)
        file = open(path, mode, **options)  # noqa: SIM115 (the caller closes it)
        if lock(file.fileno()) is not False and is_at(path, file.fileno()):
            return path, file
        file.close()  # a sweep came in between
