"""A policy that learns, within a size, which of a task's parts to keep."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_memvit.models.task_parts import MEMORY
from keras_memvit.models.task_parts import part_groups
from keras_memvit.readouts.read_gates import MEMORY_GATES
from keras_memvit.tasks.spec import TaskSpec

TEMPERATURES = 5.0, 0.5  # of the first and the last epoch


@dataclasses.dataclass(frozen=True)
class GatedSpec(TaskSpec):
    """A task whose parts a policy is weighing.

    Args:
        room: int. How many numbers the parts may take together.
    """

    room: int = 1

    @classmethod
    def of(cls, spec, room):
        """The same task with a policy."""
        own = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
        return cls(**own, room=room)


class PartsPolicy(keras.layers.Layer):
    """A gate `g = sigmoid(p / t)` for each part of a task, `t` falling.

    The loss has the further term `relu(sum(n g) / room - 1)` with `n` the numbers that
    a part takes: a term of the logits `p` alone. A memory token's gate is its share in
    the softmax, `g exp(score)`; a query's gate multiplies what it gives the head; of a
    layer of side stream or adapter all tensors are multiplied.

    Args:
        spec: the `GatedSpec`.
        backbone: the `ViTBackbone`.

    Reference:
        - [Kim et al., 2023](https://arxiv.org/abs/2302.13435). Ours: the parts, a free
          logit for each, gates without noise, choosing by rank.
    """

    def __init__(self, spec, backbone, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.room = spec.room
        self.groups = tuple(part_groups(spec, backbone))
        self.numbers = np.concatenate([group.numbers for group in self.groups])

    def build(self, input_shape=None):
        self.temperature = self.add_weight(
            name="temperature",
            shape=(),
            initializer=keras.initializers.Constant(TEMPERATURES[0]),
            trainable=False,
            autocast=False,  # the gates are float32, as what they multiply
        )
        self.logits = self.add_weight(
            name="logits",
            shape=(len(self.numbers),),
            initializer="zeros",
            regularizer=self.excess,
            autocast=False,
        )

    def excess(self, logits):
        """How far the parts are over the room, relative to it; 0 within."""
        gates = ops.sigmoid(ops.convert_to_tensor(logits) / self.temperature.value)
        taken = ops.sum(gates * ops.convert_to_tensor(self.numbers, "float32"))
        return ops.relu(taken / self.room - 1.0)

    def gates(self):
        """A dict from group to `(n,)`."""
        gates = ops.sigmoid(self.logits.value / self.temperature.value)
        found, start = {}, 0
        for group in self.groups:
            found[group.name] = gates[start : start + len(group.rows)]
            start += len(group.rows)
        return found

    def gate(self, values, parameters):
        """A task's tensors times the gates of their parts.

        Args:
            values: dict of tensors by name.
            parameters: dict from name to `Parameter`.
        """
        gates, values = self.gates(), dict(values)
        gates = {g.name: gates[g.name] for g in self.groups if g.inputs is None}
        values[MEMORY_GATES] = gates.pop(MEMORY)
        for name, parameter in parameters.items():
            if parameter.parts and parameter.group in gates:
                lead = parameter.shape[: parameter.parts]
                ones = (1,) * (len(parameter.shape) - len(lead))
                gate = ops.reshape(gates[parameter.group], (*lead, *ones))
                values[name] = values[name] * gate
        return values

    def gate_inputs(self, features):
        """A head's inputs `(B, F)` times the gates of the parts that give them."""
        gates = self.gates()
        for group in self.groups:
            if group.inputs is not None:
                given = ops.pad(gates[group.name], (1, 0), constant_values=1.0)
                features = features * ops.take(given, group.inputs + 1)
        return features

    def _used(self):
        """Whether anything comes of a part, bool `(n,)`."""
        places = [np.arange(len(group.rows)) for group in self.groups]
        return np.concatenate(
            [
                np.isin(own, own if group.inputs is None else group.inputs)
                for own, group in zip(places, self.groups)
            ]
        )

    def choice(self):
        """The parts that fit, by rank: a dict from group to places in its `rows`.

        Of each group the part with the largest logit, then all by their logits, up to
        the first that does not fit: more room keeps a superset. Parts of which the
        head takes no input come last.
        """
        logits = ops.convert_to_numpy(self.logits)
        logits = np.where(self._used(), logits, -np.inf)
        owners = np.repeat(
            np.arange(len(self.groups)), [len(group.rows) for group in self.groups]
        )
        order = np.argsort(-logits, kind="stable")  # of equal ones the first
        first = [order[owners[order] == i][0] for i in range(len(self.groups))]
        order = np.concatenate([first, order[~np.isin(order, first)]])
        kept = order[np.cumsum(self.numbers[order]) <= self.room]
        starts = np.searchsorted(owners, np.arange(len(self.groups)))
        return {
            group.name: np.sort(kept[owners[kept] == i] - starts[i])
            for i, group in enumerate(self.groups)
        }
