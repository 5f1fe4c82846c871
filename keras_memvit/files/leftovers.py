"""Temporary files and folders that a killed writer leaves, and who may delete them.

A temporary name is drawn at random, since containers that share a folder may share
process numbers, and its writer holds a lock on it, which ends with the process
however that ends. So what is named like one and can be locked is nobody's any more.
"""

import contextlib
import os
import pathlib
import re
import shutil
import time
import uuid

from keras_memvit.files.locks import is_at
from keras_memvit.files.locks import lock
from keras_memvit.files.locks import open_folder

PREFIX, SUFFIX = ".keras_memvit-", ".partial"
_NAME = re.compile(re.escape(PREFIX) + "[0-9a-f]{32}" + re.escape(SUFFIX))
FORGOTTEN = 24 * 3600  # seconds, after which it is nobody's where locks are unknown


def temporary_name(folder):
    """A path in `folder` that nobody else has, a `pathlib.Path`."""
    return pathlib.Path(folder) / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"


def is_temporary(path):
    """Whether a path is named as temporary files and folders are."""
    return _NAME.fullmatch(pathlib.Path(path).name) is not None


@contextlib.contextmanager
def scratch_folder(parent):
    """A temporary folder in `parent`, which is deleted at the end.

    Those that killed writers left in `parent` are deleted first. What it holds
    can be renamed into `parent`: it is on the same disk.
    """
    sweep(parent)
    folder, descriptor = _make_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder):
    """Deletes temporary files and folders of writers that are no more."""
    try:
        found = [entry for entry in os.scandir(folder) if is_temporary(entry.name)]
    except OSError:
        return
    for entry in found:
        with contextlib.suppress(OSError):
            _delete_if_left(entry)


def _make_folder(parent):
    """A new folder that no sweep takes, and its locked descriptor."""
    while True:
        folder = temporary_name(parent)
        folder.mkdir()
        try:
            descriptor = open_folder(folder)
        except FileNotFoundError:  # a sweep came in between
            continue
        if descriptor is None:
            return folder, None
        if lock(descriptor) is not False and is_at(folder, descriptor):
            return folder, descriptor
        os.close(descriptor)


def _delete_if_left(entry):
    is_folder = entry.is_dir(follow_symlinks=False)
    if is_folder:
        descriptor = open_folder(entry.path)
    else:
        descriptor = os.open(entry.path, os.O_RDWR)
    try:
        left = None if descriptor is None else lock(descriptor)
        if left is None:
            left = time.time() - entry.stat(follow_symlinks=False).st_mtime > FORGOTTEN
        if left and is_folder:
            shutil.rmtree(entry.path)
        elif left:
            os.unlink(entry.path)
    finally:
        if descriptor is not None:
            os.close(descriptor)
