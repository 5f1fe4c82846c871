"""All tasks' adapters, those of one kind computed together."""

import dataclasses
import functools
from typing import Any

import numpy as np
from keras import ops

from keras_memvit.layers.adapted import AdaptedBase
from keras_memvit.readouts.adapters import feature_norm
from keras_memvit.readouts.adapters.adapter import PREFIX
from keras_memvit.readouts.adapters.bottleneck import Bottleneck
from keras_memvit.readouts.adapters.feature_norm import FeatureNorm
from keras_memvit.readouts.adapters.grouped import Grouped
from keras_memvit.readouts.adapters.ia3 import IA3
from keras_memvit.readouts.adapters.lora import LoRA
from keras_memvit.readouts.readout import Parameter

KINDS = {
    "ia3": IA3(),
    "lora": LoRA(),
    "grouped": Grouped(),
    "bottleneck": Bottleneck(),
}
FEATURE_NORM = FeatureNorm()
PREFIXES = (PREFIX, feature_norm.PREFIX)


def adapter_parameters(spec, backbone):
    """The tensors of a task's adapter and norms: a dict from name to `Parameter`."""
    found = {}
    for prefix, kind, rank in _kinds(spec):
        for name, (shape, stddev) in kind.shapes(rank, backbone).items():
            shape = (backbone.num_layers, *shape)
            found[prefix + name] = Parameter(shape, stddev, prefix.rstrip("/"), parts=1)
    return found


def adapter_weights(task, prefixes=PREFIXES):
    """A task's tensors that are its adapter's and its norms'."""
    return {n: value for n, value in task.weights.items() if n.startswith(prefixes)}


def _kinds(spec):
    """What a task has: a list of `(prefix of names, Adapter, rank)`."""
    found = []
    if spec.adapter is not None:
        found.append((PREFIX, KINDS[spec.adapter], spec.adapter_rank))
    if spec.feature_norm:
        found.append((feature_norm.PREFIX, FEATURE_NORM, None))
    return found


class TaskAdapters:
    """The adapters of a list of `Task`, for all layers.

    Args:
        tasks: list of `Task`.
        dtype: what tokens are computed in.
    """

    def __init__(self, tasks, dtype):
        self.count = len(tasks)
        groups = {}
        for row, task in enumerate(tasks):
            for key in _kinds(task.spec):
                groups.setdefault(key, []).append(row)
        self.groups = []
        for (prefix, kind, _), rows in groups.items():
            own = [adapter_weights(tasks[row], prefix) for row in rows]
            layers = {}  # by name, a list of (K, ...)
            for name in own[0]:
                joint = ops.stack([weights[name] for weights in own], axis=1)
                joint = ops.cast(joint, dtype)  # (L, K, ...)
                layers[name.removeprefix(prefix)] = ops.unstack(joint, axis=0)
            self.groups.append((kind, np.array(rows), layers))

    def at(self, layer):
        """The `LayerAdapters` of one layer; None where no task has any."""
        parts = [
            Part(kind, rows, {n: w[layer] for n, w in layers.items()}, self.count)
            for kind, rows, layers in self.groups
        ]
        return LayerAdapters(parts, self.count) if parts else None


@dataclasses.dataclass
class Part:
    """The tasks of a layer that have adapters of one kind.

    Attributes:
        kind: the `Adapter`.
        rows: their positions among all; in `of_memory`, of memory tokens.
        weights: dict of tensors, tasks first.
        count: int, how many places there are in all.
    """

    kind: Any
    rows: np.ndarray
    weights: dict
    count: int

    @functools.cached_property
    def is_all(self):
        """Whether these are all, in their order."""
        return np.array_equal(self.rows, np.arange(self.count))

    def of(self, x, axis):
        """These tasks' part of what all have, tasks along an axis."""
        return x if self.is_all else ops.take(x, self.rows, axis=axis)

    def scale(self, place):
        return self.kind.scale(self.weights, place)

    def delta(self, place, x):
        return self.kind.delta(self.weights, place, x)

    def delta_by_head(self, place, x, heads):
        return self.kind.delta_by_head(self.weights, place, x, heads)

    def back(self, place, y):
        return self.kind.back(self.weights, place, y) if self.changes(place) else None

    def bias(self, place):
        return self.kind.bias(self.weights, place)

    def changes(self, place):
        """Whether a linear `delta` is added at a projection."""
        return any(name.startswith(f"{place}/") for name in self.weights)


class LayerAdapters:
    """One layer's adapters of tasks in order; the others' tokens stay as they are.

    Args:
        parts: list of `Part`.
        count: int `K`, the number of tasks.
    """

    def __init__(self, parts, count):
        self.parts = parts
        self.count = count

    def of_tasks(self, tasks):
        """Those of some tasks, in their order; None = of all."""
        if tasks is None:
            return self
        place, parts = (
            {task: i for i, task in enumerate(np.asarray(tasks).tolist())},
            [],
        )
        for part in self.parts:
            kept = [i for i, row in enumerate(part.rows.tolist()) if row in place]
            if kept:
                rows = np.array([place[part.rows[i]] for i in kept])
                weights = {
                    name: ops.take(w, kept, axis=0) for name, w in part.weights.items()
                }
                parts.append(Part(part.kind, rows, weights, len(place)))
        return LayerAdapters(parts, len(place))

    def of_memory(self, owners):
        """What changes memory behind its norm, with a token's task in each place.

        Args:
            owners: ints `(M,)`, the position of each memory token's task.
        """
        parts = []
        for part in self.parts:
            if part.scale("norm1") is not None:
                place = {task: i for i, task in enumerate(part.rows.tolist())}
                rows = np.flatnonzero(np.isin(owners, part.rows))
                kept = [place[task] for task in owners[rows].tolist()]
                weights = {
                    name: ops.take(w, kept, axis=0) for name, w in part.weights.items()
                }
                parts.append(Part(part.kind, rows, weights, len(owners)))
        return LayerAdapters(parts, len(owners)) if parts else None

    def base(self, base):
        """The layer's base tokens as these tasks see them."""
        seen = any(
            part.changes(place) or part.scale(place) is not None
            for part in self.parts
            for place in ("key", "value")
        )
        return AdaptedBase(base, self) if seen else base

    def __call__(self, place, y, x):
        """`y (B, K, W)` of a place that takes `x (B, K, V)`, with what is changed."""
        y = self.scaled(place, y)

        def change(part):
            delta = part.delta(place, part.of(x, 1)[:, :, None])
            bias = part.bias(place)
            if delta is None:
                return None if bias is None else bias[None]
            return delta[:, :, 0] if bias is None else delta[:, :, 0] + bias

        return self.added(y, 1, change)

    def scaled(self, place, y):
        """`y (B, K, W)` times its tasks' scales."""
        for part in self.parts:
            scale = part.scale(place)
            if scale is not None:
                rest = None if part.is_all else ops.ones_like(scale[:1])
                y = y * _spread(scale, rest, part, 0)
        return y

    def added(self, y, axis, change):
        """`y` plus what `change` gives of each part, tasks along an axis."""
        for part in self.parts:
            delta = change(part)
            if delta is not None:
                delta = ops.cast(delta, y.dtype)
                first = [slice(None)] * axis + [slice(1)]
                rest = None if part.is_all else ops.zeros_like(delta[tuple(first)])
                y = y + _spread(delta, rest, part, axis)
        return y


def _spread(values, rest, part, axis):
    """Rows of some tasks in the places of all, the others' as `rest` says."""
    if part.is_all:
        return values
    index = np.zeros(part.count, "int32")
    index[part.rows] = 1 + np.arange(len(part.rows))
    return ops.take(ops.concatenate([rest, values], axis=axis), index, axis=axis)
