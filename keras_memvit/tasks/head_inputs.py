"""Which of the features that a task finds its head takes."""

import operator
from collections.abc import Sequence

import numpy as np

from keras_memvit.tasks.packed import pack
from keras_memvit.tasks.packed import unpack


def parse_head_inputs(task, given):
    """Ascending indices as a tuple of ints, checked; None = all features.

    Args:
        task: str. The task's name, for errors.
        given: None, a sequence of ints, or what `pack_head_inputs` made of them.

    Raises:
        ValueError: if it is not as above, or there are none.
    """
    if given is None:
        return None
    try:
        if isinstance(given, str):
            indices = np.flatnonzero(unpack(given, 1)).tolist()
        elif isinstance(given, (Sequence, np.ndarray)):
            indices = [operator.index(i) for i in given]
        else:
            raise TypeError
    except (TypeError, ValueError):
        indices = []
    ascending = all(a < b for a, b in zip(indices, indices[1:]))
    if not indices or indices[0] < 0 or not ascending:
        raise ValueError(
            f"`head_inputs` of task '{task}' must be ascending indices of features, at "
            f"least one. Received: head_inputs={given!r:.200}"
        )
    return tuple(indices)


def pack_head_inputs(indices):
    """The same as text, a bit for each feature up to the last that is kept."""
    mask = np.zeros(indices[-1] + 1, "uint8")
    mask[list(indices)] = 1
    return pack(mask, 1)


def head_width(task, indices, width):
    """How many of `width` features a head takes.

    Raises:
        ValueError: if it takes one that there is not.
    """
    if indices is None:
        return width
    if indices[-1] >= width:
        raise ValueError(
            f"`head_inputs` of task '{task}' must be below {width}, the number of its "
            f"features. Received: {indices[-1]}"
        )
    return len(indices)
