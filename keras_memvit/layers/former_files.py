"""Weights of `.keras` files written before a task's memory was one weight.

There a task was `task_tokens`: its memory a layer for each encoder layer, its head
a layer. Keras hands a layer its own place in the file, which such a file lacks.
"""

import re

import numpy as np


def former_task_weights(store):
    """What `TaskWeights` looks for, found at the former places; or None.

    Args:
        store: what `load_own_variables` is given.

    Returns:
        A dict from `"0"`, `"1"`, ... to arrays: class token, what the readout adds,
        the head's kernel and bias.
    """
    group = _former_group(store)
    if group is None:
        return None
    values = _own(group) + _own(group["head"])
    return {str(i): value for i, value in enumerate(values)}


def former_memory(store):
    """What `MemoryTokens` looks for, `{"0": (L, m, D)}`; or None."""
    group = _former_group(store)
    if group is None:
        return None
    layers = sorted(group, key=lambda name: int((re.findall(r"\d+$", name) or [0])[0]))
    return {"0": np.stack([_own(group[name])[0] for name in layers])}


def _former_group(store):
    file, path = getattr(store, "h5_file", None), getattr(store, "_h5_entry_path", None)
    if file is None or not path or path in file:
        return None
    former = re.sub(r"\btask_weights(_\d+)?\b", r"task_tokens\1", path)
    return file[former] if former != path and former in file else None


def _own(group):
    variables = group["vars"]
    return [np.array(variables[str(i)]) for i in range(len(variables))]
