"""Which image files are whole, found once by all workers of a cluster, and kept."""

import json
import pathlib

from keras_memvit.data.class_folders import defects
from keras_memvit.files.atomic import open_whole

SIZE = 64  # files that a worker decodes before it says so


class Verdicts:
    """Why each image file cannot be used, or None, as `class_folders.defects` says.

    Args:
        path: the JSON lines that keep it: a file that has been looked at stays what
            it was found to be.
        ray: the package, connected.
        options: dict, what Ray gives a worker.
    """

    def __init__(self, path, ray, options):
        self.path, self.ray, self.options = pathlib.Path(path), ray, options

    def __call__(self, files):
        """A dict from each file to the reason or None."""
        known = self._known()
        new = [file for file in files if str(file) not in known]
        if new:
            known.update(self._find(new))
            with open_whole(self.path, "w", encoding="utf-8") as lines:
                for name, error in known.items():
                    lines.write(json.dumps({"image": name, "error": error}) + "\n")
        return {file: known[str(file)] for file in files}

    def _known(self):
        if not self.path.exists():
            return {}
        rows = map(json.loads, self.path.read_text().splitlines())
        return {row["image"]: row["error"] for row in rows}

    def _find(self, files):
        parts = [files[i : i + SIZE] for i in range(0, len(files), SIZE)]
        rows = [{"files": json.dumps([str(file) for file in part])} for part in parts]
        found = self.ray.data.from_items(rows, override_num_blocks=len(rows))
        found = found.map(_look, **self.options)
        for row in found.iter_rows():
            yield from json.loads(row["found"])


def _look(row):
    files = list(map(pathlib.Path, json.loads(row["files"])))
    return {"found": json.dumps([(str(f), why) for f, why in defects(files).items()])}
