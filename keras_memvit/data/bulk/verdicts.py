"""Which image files are whole, found once by all workers of a cluster, and kept."""

import json
import os
import pathlib

from keras_memvit.data.class_folders import defects
from keras_memvit.files.atomic import open_whole

SIZE = 64  # files that a worker decodes before it says so


class Verdicts:
    """Why each image file cannot be used, or None, as `class_folders.defects` says.

    Args:
        path: the JSON lines that keep it: a file that has been looked at stays what
            it was found to be, as long as its size and time are the same.
        ray: the package, connected.
        options: dict, what Ray gives a worker.
    """

    def __init__(self, path, ray, options):
        self.path, self.ray, self.options = pathlib.Path(path), ray, options

    def __call__(self, files):
        """A dict from each file to the reason or None."""
        known = self._known()
        states = {str(file): _state(file) for file in files}  # before the look
        new = [f for f in files if not _same(known.get(str(f)), states[str(f)])]
        if new:
            for name, error in self._find(new):
                known[name] = {"error": error, **states[name]}
            with open_whole(self.path, "w", encoding="utf-8") as lines:
                for name, found in known.items():
                    lines.write(json.dumps({"image": name, **found}) + "\n")
        return {file: known[str(file)]["error"] for file in files}

    def _known(self):
        if not self.path.exists():
            return {}
        try:
            rows = list(map(json.loads, self.path.read_text().splitlines()))
            return {row["image"]: row for row in rows if "error" in row}
        except (ValueError, KeyError, TypeError):  # damaged: all are looked at again
            return {}

    def _find(self, files):
        parts = [files[i : i + SIZE] for i in range(0, len(files), SIZE)]
        rows = [{"files": json.dumps([str(file) for file in part])} for part in parts]
        found = self.ray.data.from_items(rows, override_num_blocks=len(rows))
        found = found.map(_look, **self.options)
        for row in found.iter_rows():
            yield from json.loads(row["found"])


def _state(file):
    """Size and time of the last change; nothing of a file that has vanished."""
    try:
        found = os.stat(file)
    except OSError:
        return {}
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _same(known, state):
    return bool(known and state) and state.items() <= known.items()


def _look(row):
    files = list(map(pathlib.Path, json.loads(row["files"])))
    return {"found": json.dumps([(str(f), why) for f, why in defects(files).items()])}
