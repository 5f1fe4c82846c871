"""The steps of several tasks: each by its optimiser, on JAX those alike as one batch.

XLA compiles each operation of each variable, which for 16 side readouts takes longer
than all else in their step. Under `jax.vmap` they are compiled once.
"""

import dataclasses

import keras
from keras import ops

from keras_memvit.training.task_clone import factors_of
from keras_memvit.training.task_clone import given_rates
from keras_memvit.training.tensorflow_execution import restore_unless


@dataclasses.dataclass
class TaskStep:
    """What one task's optimiser is to do.

    Attributes:
        optimizer: the task's, made by `clone_for_task`.
        grads: list of tensors.
        variables: list of `keras.Variable`, those of `grads`.
        active: boolean scalar; where it is false nothing changes.
    """

    optimizer: keras.optimizers.Optimizer
    grads: list
    variables: list
    active: object

    @property
    def changed(self):
        return [*self.variables, *self.optimizer.variables]


def take_steps(steps, base):
    """Changes the variables and the optimisers of all steps that are active.

    Args:
        steps: list of `TaskStep`.
        base: the optimiser whose learning rate the tasks' factors multiply.
    """
    groups = {}
    for i, step in enumerate(steps):
        groups.setdefault(_kind(step) or i, []).append(step)
    for group in groups.values():
        if len(group) > 1:
            _together(group, base)
        else:
            _alone(*group)


def _kind(step):
    """What steps of one batch have in common; None of one that is in no batch."""
    optimizer = step.optimizer
    if keras.backend.backend() != "jax" or not _is_keras_own(optimizer):
        return None
    if len(step.variables) < len(optimizer._trainable_variables):
        return None  # which of them, the optimiser would take from its own
    if any(v.constraint or v.overwrite_with_gradient for v in step.variables):
        return None
    shapes = tuple((tuple(v.shape), v.dtype) for v in step.changed)
    decayed = tuple(optimizer._use_weight_decay(v) for v in step.variables)
    groups, _ = factors_of(optimizer, step.variables)
    return type(optimizer), shapes, decayed, groups


def _is_keras_own(optimizer):
    """Whether all that a step depends on is known: not a user's own class.

    Muon goes by the variables' names.
    """
    ours = factors_of.__module__
    kind = next(k for k in type(optimizer).__mro__ if k.__module__ != ours)
    known = kind.__module__.startswith("keras.src.optimizers.")
    return known and kind is not keras.optimizers.Muon


def _alone(step):
    if _is_known(step.active):
        if step.active:
            step.optimizer.apply(step.grads, step.variables)
        return
    changed = step.changed
    before = [ops.copy(ops.convert_to_tensor(v.value)) for v in changed]
    step.optimizer.apply(step.grads, step.variables)
    restore_unless(step.active, changed, before)


def _is_known(active):
    """Whether Python knows its value, without waiting for a device."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return active.device.type == "cpu" and not torch.compiler.is_compiling()


def _together(group, base):
    import jax

    # The first stands for all: under `vmap` its variables have each one's values.
    first, changed = group[0], group[0].changed

    def step(values, grads, rates, active):
        scope = keras.StatelessScope(state_mapping=zip(changed, values))
        with scope, given_rates(rates):
            first.optimizer.apply(grads, first.variables)
        after = [scope.get_current_value(variable) for variable in changed]
        return [ops.where(active, *pair) for pair in zip(after, values)]

    alike = list(zip(*(s.changed for s in group)))
    values = [ops.stack([v.value for v in same]) for same in alike]
    grads = [ops.stack(same) for same in zip(*(s.grads for s in group))]
    rates = [factors_of(s.optimizer, s.variables)[1] for s in group]
    rates = ops.cast(rates, "float32") * base.learning_rate  # (tasks, groups)
    active = ops.stack([s.active for s in group])
    for same, after in zip(alike, jax.vmap(step)(values, grads, rates, active)):
        for variable, value in zip(same, after):
            variable.assign(value)
