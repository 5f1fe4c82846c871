"""Which rows of its tensors a pruned task still has."""

import numpy as np

from keras_memvit.tasks.packed import pack
from keras_memvit.tasks.packed import unpack

MAX_ROWS = 1 << 16  # a dropped row takes a bit of a file, and is zeros in memory


def parse_kept(task, kept):
    """`kept` as a hashable tuple of `(group, packed bits)`, by group.

    Args:
        task: str. The task's name, for errors.
        kept: None, a dict from group to packed bits, or what this returns.

    Raises:
        ValueError: if it is not as above, or there is no row of a group.
    """
    if kept is None:
        return None
    try:
        pairs = tuple(sorted(dict(kept).items()))
        bits = [unpack(text, 1) for _, text in pairs]
        whole = pairs and all(b.any() and len(b) <= MAX_ROWS for b in bits)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(
            f"`kept` of task '{task}' must be a dict from groups of tensors to packed "
            f"bits, {MAX_ROWS:,} at most, at least one of them set. "
            f"Received: kept={kept!r:.200}"
        )
    return pairs


def pack_kept(rows, count):
    """The ascending indices of the rows that are there, of `count`, as text."""
    bits = np.zeros(count, "uint8")
    bits[rows] = 1
    return pack(bits, 1)


def rows_of(spec, group, count):
    """Ascending indices of the rows that a task has of a group's `count`.

    Raises:
        ValueError: if its `kept` is of another number of rows.
    """
    text = dict(spec.kept or ()).get(group)
    if text is None:
        return np.arange(count)
    bits = unpack(text, 1)
    if len(bits) != 8 * -(-count // 8) or bits[count:].any():
        raise ValueError(
            f"`kept` of task '{spec.name}' must have a bit for each of the {count} "
            f"rows of '{group}'. Received: {text!r:.100}"
        )
    return np.flatnonzero(bits)
