"""Writing a file so that, killed at any moment, the old one or the new one is there."""

import contextlib
import json
import os
import pathlib
import uuid


@contextlib.contextmanager
def open_whole(path, mode="wb", **options):
    """A file to write that takes the place of `path` once it is closed.

    Written under another name in the same folder, flushed to the disk and
    renamed. The name is drawn at random: several containers that share a folder
    may also share their process numbers. Permissions are those that the
    process gives any new file.

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
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, mode.replace("w", "x"), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path, content):
    """Writes bytes, or text as UTF-8, by `open_whole`."""
    with open_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path, content):
    """Writes what JSON can hold by `open_whole`."""
    write_whole(path, json.dumps(content, indent=1))
