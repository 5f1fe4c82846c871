"""`store.json`: what a store holds, checked; and the errors of a damaged one."""

import hashlib
import json
import pathlib

import ml_dtypes
import numpy as np

from keras_memvit.files.atomic import write_json
from keras_memvit.states.int8 import SCALE_BYTES

DTYPES = {
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.dtype("float32"),
    "int8": np.dtype("int8"),
}
CARD = "store.json"
COMPUTE = "compute_dtype"  # there where it is not the backbone's
CHECKSUM = "card_sha256"  # stores of older versions have none
MAX_BYTES = 1 << 20


class UnfinishedStore(ValueError):
    """Not all shards are there yet."""


def read_card(path):
    """The card of the store in a folder, or None if there is none.

    Raises:
        ValueError: if there is one that is damaged.
    """
    file = pathlib.Path(path) / CARD
    if not file.exists():
        return None
    card = read_json(file)
    if card is None:
        raise damaged(file, "it is no JSON object")
    checksum = card.pop(CHECKSUM, None)
    wrong = [key for key, holds in _CHECKS.items() if not holds(card.get(key))]
    if card.get(COMPUTE, "bfloat16") != "bfloat16":
        wrong.append(COMPUTE)
    if wrong or set(card) - {COMPUTE} != set(_CHECKS):
        raise damaged(file, f"{wrong or sorted(card)} are not as they must be")
    if checksum not in (None, _sha256(card)):
        raise damaged(file, "its checksum does not hold")
    return card


def write_card(path, card):
    """Writes the card of the store in a folder."""
    write_json(pathlib.Path(path) / CARD, {**card, CHECKSUM: _sha256(card)})


def read_json(path):
    """A small JSON object, or None if there is none at `path` or it is damaged."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def stored_shape(card):
    """An image's states on disk, `(L, T, D)`; int8 has its scales in each row."""
    *layers_and_tokens, width = card["state_shape"]
    return (*layers_and_tokens, width + SCALE_BYTES * (card["dtype"] == "int8"))


def card_digest(card):
    """SHA-256 of what a store is of, which each of its shards names."""
    return _sha256({key: value for key, value in card.items() if key != "images"})


def damaged(file, reason):
    """The error of a damaged file of a store."""
    return ValueError(
        f"{file} is damaged: {reason}. Call `precompute` again, which repairs the store"
    )


def _sha256(card):
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _is_count(value):
    return type(value) is int and value >= 1


def _is_shape(value):
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value))


_CHECKS = {
    "backbone": lambda value: isinstance(value, str),
    "image_shape": _is_shape,
    "state_shape": _is_shape,
    "dtype": lambda value: isinstance(value, str) and value in DTYPES,
    "views": _is_count,
    "shard_size": _is_count,
    "images": lambda value: value is None or _is_count(value),
}
