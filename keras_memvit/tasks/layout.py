"""Which memory and class tokens each task attends to, as static index arrays.

The fast path never forms a (tasks x all memory) score matrix. Tasks that
attend to about as many tokens form a group, and each task of a group gathers
only its own keys, so cost is linear in what is actually seen.
"""

import dataclasses
import functools

import numpy as np

from keras_memvit.tasks.reads import READ
from keras_memvit.tasks.reads import codes_of
from keras_memvit.tasks.sees import visible_tasks


@dataclasses.dataclass(frozen=True)
class TaskGroup:
    """Tasks attended to together.

    Rows of the index arrays are padded to one length with tokens of the task
    itself, so that a task whose values are not finite reaches no other.

    Attributes:
        tasks: `(G,)` positions of the group's tasks; None = all in order.
        memory: `(G, m)` rows of the concatenated memory: its own.
        seen_memory: `(G, E)` rows of the memory of the tasks it sees, those that it
            reads.
        seen: `(G, S)` positions of the class tokens that it sees.
        memory_padding, seen_memory_padding, seen_padding: boolean arrays of the
            same shapes, `True` = padding; None where none is.
    """

    tasks: np.ndarray | None
    memory: np.ndarray
    memory_padding: np.ndarray | None
    seen_memory: np.ndarray
    seen_memory_padding: np.ndarray | None
    seen: np.ndarray
    seen_padding: np.ndarray | None


class TaskLayout:
    """Index arrays for a list of task specs.

    Args:
        specs: list of `TaskSpec`.
        train_seen: bool. Whether what a task sees is trained by it too.
        layer, num_layers: which layer, of how many: tasks with `reads` read other
            memory in each.

    Attributes:
        num_tasks: int, `K`.
        groups: list of `TaskGroup` that together hold every task once.
        inverse: (K,) array that undoes the groups' order.
        read: dict from a task's position to a boolean array over the rows of all
            memory that it sees, where it reads not all.
        owners: (M,) ints, per row of the concatenated memory its task's position.
        memory_norm: (M, 1) boolean array, per row of the concatenated memory
            whether it passes through the norm; or True / False for all rows.
        train_seen: bool.
    """

    def __init__(self, specs, train_seen=False, layer=0, num_layers=1):
        self.num_tasks = len(specs)
        self.train_seen = train_seen
        counts = np.array([spec.num_memory_tokens for spec in specs])
        starts = np.cumsum(counts) - counts
        position = {spec.name: k for k, spec in enumerate(specs)}
        sees = visible_tasks(specs)
        rows = [np.arange(start, start + n) for start, n in zip(starts, counts)]
        seen = [[position[name] for name in sees[spec.name]] for spec in specs]
        seen_rows = [
            np.concatenate([rows[j] for j in seen[k]]) if seen[k] else rows[k][:0]
            for k in range(len(specs))
        ]
        self.read = {}
        for k, spec in enumerate(specs):
            if spec.reads is not None:
                codes = [
                    codes_of(spec, specs[j].name, (num_layers, counts[j]))[layer]
                    for j in seen[k]
                ]
                self.read[k] = np.concatenate(codes) == READ
                seen_rows[k] = seen_rows[k][self.read[k]]
        buckets = {}
        for k in range(len(specs)):
            lengths = (len(rows[k]), len(seen_rows[k]), len(seen[k]))
            # Who is choosing yet has a softmax of another form.
            key = (*map(_next_power_of_two, lengths), specs[k].chooses)
            buckets.setdefault(key, []).append(k)
        self.groups = [
            TaskGroup(
                np.array(tasks) if len(buckets) > 1 else None,
                *_pad([rows[k] for k in tasks], starts[tasks]),
                *_pad([seen_rows[k] for k in tasks], starts[tasks]),
                *_pad([seen[k] for k in tasks], tasks),
            )
            for tasks in buckets.values()
        ]
        self.inverse = np.argsort(np.concatenate(list(buckets.values())))
        self.owners = np.repeat(np.arange(len(specs)), counts)
        norm = np.repeat([spec.memory_norm for spec in specs], counts)
        self.memory_norm = bool(norm[0]) if np.all(norm == norm[0]) else norm[:, None]


@functools.lru_cache(maxsize=32)
def layouts_of(specs, num_layers, train_seen=False):
    """Each layer's `TaskLayout` of a tuple of specs, computed once."""
    if all(spec.reads is None for spec in specs):
        return (TaskLayout(specs, train_seen),) * num_layers
    return tuple(
        TaskLayout(specs, train_seen, layer, num_layers) for layer in range(num_layers)
    )


def _next_power_of_two(n):
    return 1 << (n - 1).bit_length() if n else 0


def _pad(rows, own):
    """Pads index lists to one length, each with an index of its own.

    Returns:
        The indices `(G, n)`, and where they are padding, or None for nowhere.
    """
    lengths = np.array([len(row) for row in rows])
    index = np.repeat(np.array(own, "int32")[:, None], lengths.max(), axis=1)
    for i, row in enumerate(rows):
        index[i, : len(row)] = row
    padding = np.arange(index.shape[1]) >= lengths[:, None]
    return index, padding if padding.any() else None
