"""Locks that end with the process that holds them, however it ends."""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock(descriptor, wait=False):
    """Locks an open file or folder until it is closed.

    Args:
        descriptor: int, of the file or folder.
        wait: bool. Whether to wait while another has it.

    Returns:
        True, False if another has it, None where nothing can be locked.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


@contextlib.contextmanager
def folder_locked(folder):
    """Lets one writer at a time into a folder, where folders can be locked."""
    descriptor = open_folder(folder)
    try:
        if descriptor is not None:
            lock(descriptor, wait=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def open_folder(path):
    """A descriptor of a folder, None where folders cannot be opened (Windows)."""
    if fcntl is None:
        return None
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def is_at(path, descriptor):
    """Whether an open file or folder is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
