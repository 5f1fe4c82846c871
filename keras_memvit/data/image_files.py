"""The image files below a folder; whatever else is there is named."""

import os
import pathlib

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)


class FileTree:
    """What one walk through a folder found.

    Links to folders are followed; a folder that is reached twice is read once.

    Args:
        folder: a `pathlib.Path`.

    Attributes:
        files: sorted paths that may be images: a suffix of `SUFFIXES`, or none.
        left_out: list of `(path, reason)`.
        readable: bool. Whether every folder could be listed.
        folders: dict from real path to the path by which it was reached.
    """

    def __init__(self, folder):
        self.files, self.left_out, self.folders = [], [], {}
        self.readable = True
        pending = [folder]
        while pending:
            pending += self._read(pending.pop())
        self.files.sort()

    def _read(self, folder):
        """Takes a folder's files; returns its folders."""
        real = os.path.realpath(folder)
        if real in self.folders:
            reason = f"a link to {printable(self.folders[real])}, which is read already"
            self.left_out.append((str(folder), reason))
            return []
        self.folders[real] = folder
        folders, files, left_out = list_folder(folder)
        self.readable &= str(folder) not in dict(left_out)
        self.left_out += left_out
        for file in files:
            suffix = file.suffix.lower()
            if suffix in SUFFIXES or not suffix:
                self.files.append(file)
            else:
                self.left_out.append((str(file), f"{suffix} is no suffix of an image"))
        return reversed(folders)


def list_folder(folder):
    """`(folders, files, left out)`: sorted paths, and `(path, reason)` of the rest.

    Left out are hidden entries, what is neither file nor folder (broken links,
    devices), and a folder that cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            paths = sorted(pathlib.Path(entry.path) for entry in entries)
    except OSError as error:
        return [], [], [(str(folder), f"{type(error).__name__}: {error.strerror}")]
    folders, files, left_out = [], [], []
    for path in paths:
        if path.name.startswith("."):
            left_out.append((str(path), _hidden(path)))
        elif os.path.isdir(path):
            folders.append(path)
        elif os.path.isfile(path):
            files.append(path)
        else:
            left_out.append((str(path), "neither a file nor a folder"))
    return folders, files, left_out


def _hidden(path):
    if not os.path.isdir(path):
        return "hidden"
    return f"hidden, with {sum(len(files) for _, _, files in os.walk(path))} files"


def printable(name):
    """A path or name as UTF-8 on one line; other characters are escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
