"""Files of a store: states as a memory-mapped array, labels and checksums beside.

`view0-00003.npy` holds the states of consecutive images, `view0-00003.npz` their
labels and sample weights, `view0-00003.json` the number of images and both
files' checksums. The last is written last: a shard without it does not count.
"""

import json
import pathlib
import zlib

import keras
import ml_dtypes
import numpy as np

from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json

DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float32": np.dtype("float32")}
CHUNK = 1 << 24  # bytes read at a time


class Shard:
    """One shard of a store's folder."""

    def __init__(self, folder, view, number):
        self.stem = pathlib.Path(folder) / f"view{view}-{number:05d}"

    def path(self, suffix):
        return self.stem.with_name(self.stem.name + suffix)

    def write(self, states, targets):
        """Writes states `(n, L, T, D)` and a dict of arrays, whole or not at all."""
        states = np.ascontiguousarray(states)
        if states.dtype == ml_dtypes.bfloat16:
            states = states.view("uint16")  # NumPy files know no bfloat16
        with open_whole(self.path(".npy")) as file:
            np.save(file, states)
        with open_whole(self.path(".npz")) as file:
            np.savez(file, **targets)
        card = {"images": len(states), **self._checksums()}
        write_json(self.path(".json"), card)

    def card(self):
        """The number of images and the checksums, or None if it is not whole."""
        try:
            return json.loads(self.path(".json").read_text())
        except (OSError, ValueError):
            return None

    def is_intact(self):
        """Whether the shard is whole and its checksums hold."""
        card = self.card()
        try:
            return card is not None and card == {
                "images": card.get("images"),
                **self._checksums(),
            }
        except OSError:
            return False

    def states(self):
        """The states `(n, L, T, D)`, memory-mapped; bfloat16 as its bits, int16."""
        states = np.load(self.path(".npy"), mmap_mode="r")
        return states.view("int16") if states.dtype == "uint16" else states

    def targets(self):
        """Labels and sample weights, a dict of arrays."""
        with np.load(self.path(".npz")) as arrays:
            return dict(arrays)

    def _checksums(self):
        return {suffix: _checksum(self.path(suffix)) for suffix in (".npy", ".npz")}


def flatten_targets(labels, sample_weight):
    """Labels and sample weights, each an array or a dict by task, as one dict."""
    flat = {}
    for name, value in (("labels", labels), ("sample_weight", sample_weight)):
        if isinstance(value, dict):
            flat.update({f"{name}/{task}": np.asarray(v) for task, v in value.items()})
        elif value is not None:
            flat[name] = np.asarray(value)
    return flat


def unflatten_targets(flat):
    """The inverse of `flatten_targets`: `(labels, sample_weight)`."""
    found = []
    for name in ("labels", "sample_weight"):
        by_task = {
            key.removeprefix(f"{name}/"): value
            for key, value in flat.items()
            if key.startswith(f"{name}/")
        }
        found.append(flat.get(name, by_task or None))
    return tuple(found)


def stack_targets(rows):
    """Dicts of arrays, end to end."""
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *rows)


def _checksum(path):
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value
