"""Files of a store: states as a memory-mapped array, labels and checksums beside.

`view0-00003.npy` holds the states of consecutive images, `view0-00003.npz` their
labels and sample weights, `view0-00003.json` the number of images, both files'
checksums, and which shard of which store this is. The last is written last: a shard
without it does not count.
"""

import pathlib
import zipfile
import zlib

import keras
import ml_dtypes
import numpy as np

from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json
from keras_memvit.files.locks import folder_locked
from keras_memvit.states.store_card import card_digest
from keras_memvit.states.store_card import damaged
from keras_memvit.states.store_card import read_json
from keras_memvit.states.store_card import stored_shape

CHUNK = 1 << 24  # bytes read at a time
FILES = (".npy", ".npz")


class Shard:
    """One shard of a store's folder.

    Args:
        folder: the store's folder.
        view, number: ints, which shard it is.
        store: dict. The store's card.
        former: bool. Whether a shard counts that does not say which it is, as those
            of older stores do not.
    """

    def __init__(self, folder, view, number, store, former=True):
        self.stem = pathlib.Path(folder) / f"view{view}-{number:05d}"
        self.identity = {"view": view, "number": number, "store": card_digest(store)}
        self.stored_shape = stored_shape(store)
        self.dtype = store["dtype"]
        self.accepted = [self.identity, {}] if former else [self.identity]

    def path(self, suffix):
        return self.stem.with_name(self.stem.name + suffix)

    def write(self, states, targets):
        """Writes states as they are stored and a dict of arrays, whole or not at all.

        One writer at a time: two that write the same shard would mix their files. Who
        comes later finds it there.
        """
        states = np.ascontiguousarray(states)
        if states.dtype == ml_dtypes.bfloat16:
            states = states.view("uint16")  # NumPy files know no bfloat16
        with folder_locked(self.stem.parent):
            if self.is_intact():
                return
            self.path(".json").unlink(missing_ok=True)
            with open_whole(self.path(".npy")) as file:
                np.save(file, states)
            with open_whole(self.path(".npz")) as file:
                np.savez(file, **targets)
            card = {"images": len(states), **self._checksums(), **self.identity}
            write_json(self.path(".json"), card)

    def card(self):
        """The number of images and the checksums, or None if it is not whole."""
        card = read_json(self.path(".json"))
        if card is None:
            return None
        rest = {key: value for key, value in card.items() if key not in self.identity}
        known = {"images", *FILES} == set(rest)
        known = known and all(type(value) is int for value in rest.values())
        same = {key: card[key] for key in self.identity if key in card}
        return card if known and same in self.accepted else None

    def is_intact(self):
        """Whether the shard is whole, as the store says, and its checksums hold."""
        try:
            self.verify(".npy")
            self.states()
            self.targets()
        except (OSError, ValueError):
            return False
        return True

    def states(self):
        """The states `(n, L, T, D)`, memory-mapped; bfloat16 as its bits, int16.

        int8 is `(n, L, T, D + 4)`, a token's scale behind its numbers.

        Raises:
            ValueError: if they are not of the store's shape and type.
        """
        path, card = self.path(".npy"), self._card()
        shape = (card["images"], *self.stored_shape)
        stored = "uint16" if self.dtype == "bfloat16" else self.dtype
        try:
            states = np.load(path, mmap_mode="r")
        except Exception as error:  # NumPy raises whatever its parser meets
            raise damaged(path, f"it cannot be read ({error!r:.200})") from error
        if states.shape != shape or states.dtype != stored:
            raise damaged(
                path,
                f"it must hold {stored} of the shape {shape}. Received: {states.dtype} "
                f"of the shape {states.shape}",
            )
        return states.view("int16") if stored == "uint16" else states

    def targets(self):
        """Labels and sample weights, a dict of arrays.

        Raises:
            ValueError: if the checksum does not hold, or they are not one an image.
        """
        path, card = self.path(".npz"), self._card()
        self.verify(".npz")
        try:
            with zipfile.ZipFile(path) as archive:  # not larger than it is on the disk
                stored = [
                    i.compress_type == zipfile.ZIP_STORED for i in archive.filelist
                ]
            with np.load(path) as arrays:
                targets = dict(arrays) if all(stored) else {}
        except Exception as error:  # NumPy raises whatever its parsers meet
            raise damaged(path, f"it cannot be read ({error!r:.200})") from error
        rows = {name: value.shape[:1] for name, value in targets.items()}
        wrong = [name for name, row in rows.items() if row != (card["images"],)]
        if wrong or not all(stored):
            raise damaged(path, f"{wrong or 'its arrays'} must be one value an image")
        return targets

    def verify(self, suffix):
        """Raises a `ValueError` if the checksum of a file does not hold."""
        if _checksum(self.path(suffix)) != self._card()[suffix]:
            raise damaged(self.path(suffix), "its checksum does not hold")

    def _card(self):
        card = self.card()
        if card is None:
            raise damaged(self.path(".json"), "it is not this shard's")
        return card

    def _checksums(self):
        return {suffix: _checksum(self.path(suffix)) for suffix in FILES}


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
