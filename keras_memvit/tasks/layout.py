"""Which memory and class tokens each task attends to, as static index arrays.

The fast path never forms a (tasks x all memory) score matrix. Tasks that
attend to about as many tokens form a group, and each task of a group gathers
only its own keys, so cost is linear in what is actually seen.
"""

import dataclasses
import functools

import numpy as np

from keras_memvit.tasks.sees import visible_tasks


@dataclasses.dataclass(frozen=True)
class TaskGroup:
    """Tasks attended to together; index arrays are padded, masks say where.

    `tasks` (G,) positions of the group's tasks, None = all in order; `memory`
    (G, E) rows of the concatenated memory; `seen` (G, S) positions of the class
    tokens seen.
    Masks are float `0` = may attend, `-inf` = padding, or None if none is.
    """

    tasks: np.ndarray | None
    memory: np.ndarray
    memory_bias: np.ndarray | None
    seen: np.ndarray
    seen_bias: np.ndarray | None


class TaskLayout:
    """Index arrays for a list of task specs.

    Attributes:
        num_tasks: int, `K`.
        groups: list of `TaskGroup` that together hold every task once.
        inverse: (K,) array that undoes the groups' order.
        memory_norm: (M, 1) boolean array, per row of the concatenated memory
            whether it passes through the norm; or True / False for all rows.
    """

    def __init__(self, specs):
        self.num_tasks = len(specs)
        counts = np.array([spec.num_memory_tokens for spec in specs])
        starts = np.cumsum(counts) - counts
        position = {spec.name: k for k, spec in enumerate(specs)}
        sees = visible_tasks(specs)
        seen = [[position[name] for name in sees[spec.name]] for spec in specs]
        memory = [
            np.concatenate(
                [np.arange(starts[j], starts[j] + counts[j]) for j in [k, *seen[k]]]
            )
            for k in range(len(specs))
        ]
        buckets = {}
        for k in range(len(specs)):
            key = (_next_power_of_two(len(memory[k])), _next_power_of_two(len(seen[k])))
            buckets.setdefault(key, []).append(k)
        self.groups = [
            TaskGroup(
                np.array(tasks) if len(buckets) > 1 else None,
                *_pad([memory[k] for k in tasks]),
                *_pad([seen[k] for k in tasks]),
            )
            for tasks in buckets.values()
        ]
        self.inverse = np.argsort(np.concatenate(list(buckets.values())))
        norm = np.repeat([spec.memory_norm for spec in specs], counts)
        self.memory_norm = bool(norm[0]) if np.all(norm == norm[0]) else norm[:, None]


@functools.lru_cache(maxsize=32)
def layout_of(specs):
    """The `TaskLayout` of a tuple of specs, computed once."""
    return TaskLayout(specs)


def _next_power_of_two(n):
    return 1 << (n - 1).bit_length() if n else 0


def _pad(rows):
    """Pads index lists to one length; the bias is None where none is padded."""
    lengths = np.array([len(row) for row in rows])
    index = np.zeros((len(rows), lengths.max()), dtype="int32")
    for i, row in enumerate(rows):
        index[i, : len(row)] = row
    padded = np.arange(index.shape[1]) >= lengths[:, None]
    bias = np.where(padded, -np.inf, 0.0).astype("float32") if padded.any() else None
    return index, bias
