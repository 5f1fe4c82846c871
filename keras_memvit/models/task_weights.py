"""All that one task owns: class token, memory, what its readout adds, head."""

import functools
import math
import random

import keras
import numpy as np
from keras import ops

from keras_memvit.layers import MemoryTokens
from keras_memvit.layers.dtypes import float32_variables
from keras_memvit.layers.former_files import former_task_weights
from keras_memvit.models.task_parts import fill
from keras_memvit.models.task_parts import stored_parameters
from keras_memvit.readouts import Parameter
from keras_memvit.readouts import Task
from keras_memvit.readouts.loop import num_features
from keras_memvit.tasks.reads import SCORES
from keras_memvit.tasks.reads import num_read

HEAD = ("head/kernel", "head/bias")
# Of a regression, not trained: what makes the head's output the labels' units.
MEAN, SCALE = "target/mean", "target/scale"


class TaskWeights(keras.layers.Layer):
    """The trainable parameters of one task.

    `(1 + L m) D` numbers for class token and memory, what adapter and readout add, and
    `(F + 1) C` for the head on `F` features. The variables are float32 whatever the
    encoder computes in, and start from the same values on every backend. A regression
    has mean `m` and scale `s` of its targets beside them, which are not trained:
    with the head's output `h` it answers `h s + m`.

    Args:
        spec: the `TaskSpec`.
        backbone: the `ViTBackbone`; only its configuration is used.
        values: optional dict of arrays by the names in a task file, to start from.
        seen: dict from the names of the tasks it sees, in alphabetical order, to their
            memory tokens; needed where it chooses among these.
        embedding: optional, see `keras_memvit.readouts.Task`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        features: what the readouts found, `(B, F)`.

    Returns:
        float32 logits of shape `(B, C)`.
    """

    def __init__(
        self, spec, backbone, values=None, seen=None, embedding=None, **kwargs
    ):
        kwargs["dtype"] = float32_variables(kwargs.get("dtype"))
        super().__init__(autocast=False, **kwargs)
        self.spec = spec
        self.parameters = _parameters(spec, backbone, seen)
        self.statistics = statistics_shapes(spec)
        vars(self)["values"] = values  # untracked, until built
        vars(self)["embedding"] = embedding  # untracked: the model's
        self._owned = {}
        self.fill = functools.partial(fill, spec, backbone)  # what prune dropped
        self.siblings = lambda: {spec.name: self}  # all tasks of the model, by name

    def build(self, input_shape=None):
        draw = self._initializers()
        num_layers, num_memory_tokens, hidden_dim = self.parameters["memory"].shape
        self.memory = MemoryTokens(
            num_memory_tokens,
            num_layers,
            initializer=draw("memory"),
            dtype=self.dtype_policy,
            name="memory",
        )
        self.memory.build((None, None, hidden_dim))
        for name, parameter in self.parameters.items():
            if name == "memory":
                continue
            self._owned[name] = self.add_weight(
                name=name.replace("/", "_"),
                shape=parameter.shape,
                initializer=draw(name),
                autocast=False,  # readouts take float32
            )
        for name, shape in self.statistics.items():
            self._owned[name] = self.add_weight(
                name=name.replace("/", "_"),
                shape=shape,
                initializer=draw(name),
                trainable=False,
                autocast=False,
            )

    def _initializers(self):
        """A function from a tensor's name to where its first values come from."""
        values = vars(self).pop("values")
        if values is not None:
            return lambda name: _Given(values[name])
        rng = np.random.default_rng(random.randrange(1 << 32))
        known = {MEAN: "zeros", SCALE: "ones"}
        return lambda name: known.get(name) or _Drawn(self.parameters[name].stddev, rng)

    @property
    def variables_by_name(self):
        """The variables by their names in a task file."""
        own = {**self._owned, "memory": self.memory.memory}
        return {name: own[name] for name in (*self.parameters, *self.statistics)}

    @property
    def class_token(self):
        """The class token's variable, (D,)."""
        return self._owned["class_token"]

    @property
    def shapes(self):
        """Shapes by the names in a task file."""
        shapes = {name: p.shape for name, p in self.parameters.items()}
        return shapes | self.statistics

    def arrays(self):
        """float32 arrays by the names in a task file."""
        return {
            name: np.array(ops.convert_to_numpy(variable), dtype="float32")
            for name, variable in self.variables_by_name.items()
        }

    def assign_arrays(self, arrays):
        """The inverse of `arrays`."""
        for name, variable in self.variables_by_name.items():
            variable.assign(arrays[name])

    @property
    def parameter_groups(self):
        """Variables by what they are: a dict of lists."""
        groups = {}
        variables = self.variables_by_name
        for name, parameter in self.parameters.items():
            groups.setdefault(parameter.group, []).append(variables[name])
        return groups

    def start(self, seed, keep=("class_token",)):
        """Draws tensors anew, the same on every backend.

        Args:
            seed: int, of NumPy's generator.
            keep: names of those that stay as they are.
        """
        rng = np.random.default_rng(seed)
        variables = self.variables_by_name
        for name in self.parameters:
            variable = variables[name]
            if name not in keep:
                draw = _Drawn(self.parameters[name].stddev, rng)
                variable.assign(draw(variable.shape))

    def tensors(self):
        """What readouts take, by the names in a task file."""
        return {
            name: variable.value
            for name, variable in self.variables_by_name.items()
            if name not in (*HEAD, *self.statistics)
        }

    def task(self):
        """The task as readouts take it."""
        values = self.fill(self.tensors())
        return Task(self.spec, values, vars(self)["embedding"])

    def call(self, features):
        kernel, bias = (self._owned[name].value for name in HEAD)
        outputs = ops.matmul(ops.cast(features, "float32"), kernel) + bias
        if not self.statistics:
            return outputs
        return outputs * self._owned[SCALE].value + self._owned[MEAN].value

    def standardize(self, values):
        """Targets or answers `(B, C)` of a regression in units of their scale."""
        return (values - self._owned[MEAN].value) / self._owned[SCALE].value

    def served_head(self):
        """The head's kernel and bias, by their names, as one map to what is answered.

        `h s + m` with `h = z W + b` is `z (W s) + (b s + m)`.
        """
        kernel, bias = (self._owned[name].value for name in HEAD)
        if self.statistics:
            mean, scale = self._owned[MEAN].value, self._owned[SCALE].value
            kernel, bias = kernel * scale, bias * scale + mean
        return dict(zip(HEAD, (kernel, bias)))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.spec.num_classes)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["task"] = np.frombuffer(self.spec.name.encode(), "uint8")

    def load_own_variables(self, store):
        """Takes what the file has here; of another task of the model, for that one.

        Keras finds layers by their place, which is another with tasks in another order.
        """
        names = list(store.keys())
        if not names and "unknown" in vars(self):  # Keras looks at other places too
            raise vars(self)["unknown"]
        values = former_task_weights(store) or {name: store[name] for name in names}
        target = self
        if (name := values.pop("task", None)) is not None:
            target = self.find_task(np.array(name, "uint8").tobytes().decode())
        vars(self.memory)["load_into"] = target.memory  # the file has it next
        super(TaskWeights, target).load_own_variables(values)

    def find_task(self, name):
        """The model's layer of a task, for weights that a file has under its name."""
        siblings = self.siblings()
        vars(self).pop("unknown", None)
        if name not in siblings and len(siblings) > 1:
            vars(self)["unknown"] = ValueError(
                f"The weights are of a task '{name}', which is none of the model's "
                f"tasks {list(siblings)}"
            )
            raise vars(self)["unknown"]
        return siblings.get(name, self)  # one task may have another name


def task_shapes(spec, backbone):
    """Shapes of all of a task's tensors by their names in a task file."""
    shapes = {name: p.shape for name, p in _parameters(spec, backbone).items()}
    return shapes | statistics_shapes(spec)


def statistics_shapes(spec):
    """Shapes of what a task keeps of its targets, by their names in a task file."""
    regression = spec.kind == "regression"
    return dict.fromkeys((MEAN, SCALE), (spec.num_classes,)) if regression else {}


def _parameters(spec, backbone, seen=None):
    """All of a task's tensors, its head's behind: a dict from name to `Parameter`."""
    found = stored_parameters(spec, backbone)
    width = num_features(spec, backbone)
    found["head/kernel"] = Parameter((width, spec.num_classes), group="head")
    found["head/bias"] = Parameter((spec.num_classes,), 0.0, group="head")
    if spec.chooses:
        if not seen:
            raise ValueError(
                f"Task '{spec.name}' has sees_budget={spec.sees_budget} and lacks the "
                "`reads` that a task on its own must have"
            )
        shape = (backbone.num_layers, sum(seen.values()))
        num_read(spec, math.prod(shape))
        found[SCORES] = Parameter(shape, group="reads")
    return found


class _Drawn:
    """Normal values by NumPy: the same on every backend, under Keras' seed."""

    def __init__(self, stddev, rng=None):
        self.stddev = stddev
        self.rng = rng

    def __call__(self, shape, dtype=None):
        if not self.stddev:
            return np.zeros(shape, "float32")
        values = self.rng.standard_normal(shape, "float32")
        return values * np.float32(self.stddev)


class _Given:
    """Values that are there already; copied, since torch writes into what it takes."""

    def __init__(self, values):
        self.values = values

    def __call__(self, shape, dtype=None):
        return np.array(self.values, "float32", order="C")  # files want it
