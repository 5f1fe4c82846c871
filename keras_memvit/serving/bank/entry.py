"""One task of a bank: its arrays as the bank's pass takes them."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_memvit.models.task_parts import fill
from keras_memvit.models.task_weights import HEAD
from keras_memvit.models.task_weights import MEAN
from keras_memvit.models.task_weights import SCALE
from keras_memvit.readouts.loop import num_features
from keras_memvit.tasks.spec import TaskSpec


@dataclasses.dataclass(frozen=True)
class Kind:
    """What tasks have in common that are computed by the same operations.

    Attributes:
        readout: the readout object.
        adapter, adapter_rank, feature_norm: as of `TaskSpec`.
    """

    readout: Any
    adapter: str | None
    adapter_rank: int | None
    feature_norm: bool

    def slots(self, count, num_memory_tokens, num_classes):
        """Specs for `count` tasks of this kind, of one size whatever their own is."""
        return [
            TaskSpec(
                f"slot-{i}",
                num_classes,
                num_memory_tokens,
                readout=self.readout,
                adapter=self.adapter,
                adapter_rank=self.adapter_rank,
                feature_norm=self.feature_norm,
            )
            for i in range(count)
        ]


@dataclasses.dataclass(frozen=True, eq=False)  # equal is who is the same object
class Entry:
    """A task that is loaded.

    Attributes:
        spec: its `TaskSpec`.
        kind: its `Kind`.
        arrays: dict of float32 arrays by their names in a task file, as they are
            there; of a regression the head answers in the labels' units, and what was
            pruned, and inputs that the head does not take, are zeros.
    """

    spec: TaskSpec
    kind: Kind
    arrays: dict

    @classmethod
    def of(cls, spec, arrays, backbone):
        """From a task's spec and the arrays of its file."""
        filled = fill(spec, backbone, arrays)
        arrays = {name: ops.convert_to_numpy(value) for name, value in filled.items()}
        kernel, bias = HEAD
        if spec.kind == "regression":
            mean, scale = arrays.pop(MEAN), arrays.pop(SCALE)
            arrays[kernel] = arrays[kernel] * scale
            arrays[bias] = arrays[bias] * scale + mean
        if spec.head_inputs is not None:
            every = dataclasses.replace(spec, head_inputs=None)
            shape = (num_features(every, backbone), spec.num_classes)
            whole = np.zeros(shape, "float32")
            whole[list(spec.head_inputs)] = arrays[kernel]
            arrays[kernel] = whole
        kind = (spec.readout, spec.adapter, spec.adapter_rank, spec.feature_norm)
        return cls(spec, Kind(*kind), arrays)

    @property
    def nbytes(self):
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def power_of_two(n, least=1):
    """The least power of two that is at least `n`, and at least `least`."""
    return max(1 << (n - 1).bit_length(), least)


def stack(entries):
    """Arrays of entries of one kind as one array each, `(K, ...)`.

    `K`, memory tokens and classes are rounded up to powers of two, so that few shapes
    arise: memory and heads with zeros, entries with the first one, whose values are
    finite.

    Args:
        entries: sequence of `Entry`.

    Returns:
        A dict of arrays by name, and beside them `"memory_padding"` `(K, m)` and
        `"memory_norm"` `(K,)`, boolean.
    """
    count = power_of_two(len(entries))
    specs = [entry.spec for entry in entries]
    num_memory_tokens = power_of_two(max(s.num_memory_tokens for s in specs), 8)
    num_classes = power_of_two(max(s.num_classes for s in specs), 16)
    entries = [*entries, *[entries[0]] * (count - len(entries))]
    sizes = {"memory": (1, num_memory_tokens), HEAD[0]: (1, num_classes)}
    sizes[HEAD[1]] = (0, num_classes)
    stacked = {}
    for name, first in entries[0].arrays.items():
        shape = list(first.shape)
        axis, size = sizes.get(name, (None, None))
        if axis is not None:
            shape[axis] = size
        joint = np.zeros((count, *shape), "float32")
        for row, entry in zip(joint, entries):
            own = entry.arrays[name]
            row[tuple(slice(n) for n in own.shape)] = own
        stacked[name] = joint
    tokens = np.array([entry.spec.num_memory_tokens for entry in entries])
    stacked["memory_padding"] = np.arange(num_memory_tokens) >= tokens[:, None]
    stacked["memory_norm"] = np.array([entry.spec.memory_norm for entry in entries])
    return stacked
