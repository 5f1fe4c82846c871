"""Where an export goes: a numbered version that appears when it is whole."""

import contextlib
import pathlib

from keras_memvit.files.exchange import put_folder
from keras_memvit.files.exchange import restore_folder
from keras_memvit.files.leftovers import scratch_folder

BUILT = "saved_model"  # what is put in place, in the scratch folder


@contextlib.contextmanager
def new_version(path, overwrite):
    """A context that puts what it leaves in `scratch / BUILT` in a version's place.

    Args:
        path: `<folder>/<version>`, or `<folder>` for the next version in it.
        overwrite: bool. Whether an existing version may be replaced.

    Yields:
        The version's folder and the scratch folder beside it.

    Raises:
        ValueError: if the version exists and may not be replaced.
    """
    folder = _version_folder(pathlib.Path(path))
    restore_folder(folder)
    if folder.exists() and not overwrite:
        raise ValueError(
            f"`path` must be a version that does not exist yet, or pass "
            f"`overwrite=True`. Received: {folder}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.parent) as scratch:
        yield folder, scratch
        put_folder(scratch / BUILT, folder)


def check_max_pixels(max_pixels):
    """Raises a `ValueError` unless it is an int of at least 1."""
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(
            "`max_pixels` must be an int of at least 1. "
            f"Received: max_pixels={max_pixels!r}"
        )


def _version_folder(path):
    """`<folder>/<version>` as given, or the next version in `<folder>`."""
    if path.name.isdigit():
        return path
    taken = [int(p.name) for p in path.glob("*") if p.name.isdigit()]
    return path / str(max(taken, default=0) + 1)
