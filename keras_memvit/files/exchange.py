"""A new folder in the place of an old one, in one step where the system can."""

import ctypes
import errno
import os
import pathlib
import shutil
import sys

from keras_memvit.files.atomic import sync_folder

AT_FDCWD = -100
RENAME_EXCHANGE = 2
# What a kernel or file system says that has no such call.
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)


def put_folder(new, path):
    """Gives the folder `new` the name `path`; a former one goes to where `new` was.

    On Linux the two are exchanged in one step, so that one of them is at `path` at
    any moment. Elsewhere the old one is put back if the new one cannot be renamed,
    and by `restore_folder` if the process was killed in between.

    Args:
        new: a folder on the same disk as `path`.
        path: the folder that it becomes.

    Raises:
        OSError: if it cannot be renamed; `path` is as it was.
    """
    new, path = pathlib.Path(new), pathlib.Path(path)
    if not path.exists():
        new.rename(path)
    elif not exchange(new, path):
        aside = _aside(path)
        path.rename(aside)
        try:
            new.rename(path)
        except BaseException:
            aside.rename(path)
            raise
        aside.rename(new)
    sync_folder(path.parent)


def restore_folder(path):
    """Undoes what a killed `put_folder` left: the old folder under another name."""
    aside = _aside(path)
    if aside.exists() and not os.path.lexists(path):
        aside.rename(path)
    elif aside.exists():
        shutil.rmtree(aside)


def _aside(path):
    path = pathlib.Path(path)
    return path.with_name(f".{path.name}.replaced")


def exchange(a, b):
    """Exchanges two names in one step; returns whether the system can."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(a), os.fsencode(b)
    if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), os.fspath(a), None, os.fspath(b))
