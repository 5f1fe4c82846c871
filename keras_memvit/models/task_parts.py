"""The parts that a task's tensors are lists of, and tensors that lack some."""

import dataclasses
import math

import numpy as np
from keras import ops

from keras_memvit.readouts.loop import CLASS_TOKEN
from keras_memvit.readouts.loop import parameters
from keras_memvit.tasks.kept import rows_of

MEMORY = "memory"


def stored_parameters(spec, backbone):
    """A task's tensors but its head's, as its file has them.

    Returns:
        A dict from name to `Parameter`; of those in parts with the rows that the task
        has kept first, `(n, ...)`, where it has not kept all.
    """
    found, counts = parameters(spec, backbone), _counts(spec, backbone)
    for name, parameter in found.items():
        group = parameter.group
        if parameter.parts and group in dict(spec.kept or ()):
            kept = rows_of(spec, group, counts[group])
            shape = (len(kept), *parameter.shape[parameter.parts :])
            found[name] = dataclasses.replace(parameter, shape=shape, parts=1)
    return found


def fill(spec, backbone, values):
    """Tensors as readouts take them: zeros where the task has kept no row."""
    if spec.kept is None:
        return values
    values, counts = dict(values), _counts(spec, backbone)
    for name, parameter in parameters(spec, backbone).items():
        if parameter.parts and parameter.group in dict(spec.kept):
            count = counts[parameter.group]
            kept = rows_of(spec, parameter.group, count)
            index = np.full(count, len(kept), "int32")
            index[kept] = np.arange(len(kept))
            zeros = ops.zeros((1, *parameter.shape[parameter.parts :]))
            value = ops.concatenate([values[name], zeros], axis=0)
            values[name] = ops.reshape(ops.take(value, index, axis=0), parameter.shape)
    return values


@dataclasses.dataclass(frozen=True)
class PartGroup:
    """Parts of one kind that a task has, each of which can be dropped.

    Attributes:
        name: str, the group's.
        rows: `(n,)`, which of `count` they are.
        count: int.
        numbers: `(n,)`, how many numbers a part takes, with the head's for its inputs.
        inputs: for each of the head's inputs the place in `rows` of the part that gives
            it, -1 for none; None where no part gives one.
    """

    name: str
    rows: np.ndarray
    count: int
    numbers: np.ndarray
    inputs: np.ndarray | None = None


def part_groups(spec, backbone):
    """A list of `PartGroup`: a task's memory tokens, then what else it has in parts."""
    tokens = spec.num_memory_tokens
    column = backbone.num_layers * backbone.hidden_dim
    groups = [PartGroup(MEMORY, np.arange(tokens), tokens, np.full(tokens, column))]
    found = parameters(spec, backbone).values()
    for name, count in _counts(spec, backbone).items():
        rows = rows_of(spec, name, count)
        each = sum(
            math.prod(p.shape[p.parts :]) for p in found if p.parts and p.group == name
        )
        numbers, inputs = np.full(len(rows), each), None
        if spec.readout.parts_are_features and name in _groups(spec, backbone):
            inputs = _inputs(spec, backbone, rows, count)
            taken = np.bincount(inputs[inputs >= 0], minlength=len(rows))
            numbers = numbers + spec.num_classes * taken
        groups.append(PartGroup(name, rows, count, numbers, inputs))
    return groups


def _counts(spec, backbone):
    """How many rows each group in parts has, with those that a task has not kept."""
    found = {}
    for parameter in parameters(spec, backbone).values():
        if parameter.parts:
            found[parameter.group] = math.prod(parameter.shape[: parameter.parts])
    if unknown := [name for name, _ in spec.kept or () if name not in found]:
        raise ValueError(
            f"`kept` of task '{spec.name}' must be of groups in parts: {list(found)}. "
            f"Received: {unknown}"
        )
    return found


def _groups(spec, backbone):
    """The groups of the tensors of a task's own readout."""
    return {p.group for p in spec.readout.parameters(spec, backbone).values()}


def _inputs(spec, backbone, rows, count):
    """See `PartGroup.inputs`."""
    before = CLASS_TOKEN.num_features(backbone)
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    each = spec.readout.num_features(backbone) // count
    found = np.concatenate([np.full(before, -1), np.repeat(place, each)])
    return found if spec.head_inputs is None else found[list(spec.head_inputs)]
