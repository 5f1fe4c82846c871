"""Dynamic loss scaling, task by task, for training in float16."""

import contextlib
import contextvars

import keras
from keras import ops

INITIAL_SCALE = 2.0**15  # as in `keras.optimizers.LossScaleOptimizer`
GROWTH_STEPS = 2000

# JAX: the scales of the step that is being traced, whose arguments they are.
_TRACED = contextvars.ContextVar("keras_memvit_loss_scales", default=None)


class LossScales:
    """A dynamic scale `s` for each task, as `LossScaleOptimizer` has one for all.

    A task's loss `l` becomes `stop(l) + s (l - stop(l))`: the same value, its
    gradient multiplied by `s`. After a step in which the task had a gradient,
    with `n` finite steps behind it,

        s, n = s / 2, 0      if the gradient is not finite (and is not applied),
        s, n = 2 s, 0        if n + 1 = growth_steps,
        s, n = s, n + 1      otherwise.

    Args:
        groups: list of lists of tasks. Tasks whose losses reach each other's
            variables share a scale, since a gradient is divided by one number.
        initial_scale: float, the first `s`.
        growth_steps: int, see above.
    """

    def __init__(self, groups, initial_scale, growth_steps):
        self.groups = groups
        self.index = {task: i for i, group in enumerate(groups) for task in group}
        self.initial_scale = initial_scale
        self.growth_steps = growth_steps
        self.scale = None  # (groups,), made by `build`
        self.finite_steps = None  # (groups,)

    def build(self, optimizer):
        """Makes the variables, as variables of an optimiser."""
        arguments = {
            "shape": (len(self.groups),),
            "aggregation": "only_first_replica",
        }
        self.scale = optimizer.add_variable(
            initializer=keras.initializers.Constant(self.initial_scale),
            name="loss_scale",
            **arguments,
        )
        self.finite_steps = optimizer.add_variable(
            dtype="int", name="finite_steps", **arguments
        )

    @property
    def variables(self):
        return [] if self.scale is None else [self.scale, self.finite_steps]

    def of(self, task):
        """The task's scale, a scalar."""
        traced = _TRACED.get()
        if traced is not None:
            return traced[self.index[task]]
        if self.scale is None:
            return self.initial_scale
        return ops.convert_to_tensor(self.scale)[self.index[task]]

    def scale_loss(self, task, loss):
        """The task's loss with its gradient scaled."""
        value = ops.stop_gradient(loss)
        return value + self.of(task) * (loss - value)

    def unscaled(self, task, grads):
        """The task's gradients without its scale, and whether all are finite."""
        scale = self.of(task)
        grads = [grad / ops.cast(scale, grad.dtype) for grad in grads]
        finite = [ops.all(ops.isfinite(grad)) for grad in grads]
        return grads, ops.all(ops.stack(finite))

    def update(self, trained, finite):
        """Takes the outcome of a step.

        Args:
            trained: dict from task to a boolean scalar, whether it had a gradient.
            finite: dict from task to a boolean scalar, whether that was finite.
        """
        bad = {
            task: ops.logical_and(trained[task], ops.logical_not(finite[task]))
            for task in trained
        }
        trained, bad = self._by_group(trained), self._by_group(bad)
        scale = ops.convert_to_tensor(self.scale)
        steps = ops.convert_to_tensor(self.finite_steps)
        grows = ops.logical_and(trained, steps + 1 >= self.growth_steps)
        restarts = ops.logical_or(bad, grows)
        scaled = ops.where(bad, scale / 2.0, ops.where(grows, scale * 2.0, scale))
        counted = steps + ops.cast(trained, steps.dtype)
        self.scale.assign(scaled)
        self.finite_steps.assign(ops.where(restarts, ops.zeros_like(steps), counted))

    def _by_group(self, flags):
        """`(groups,)`: whether the flag of any task of the group is set."""
        none = ops.zeros((), "bool")
        return ops.stack(
            [
                ops.any(ops.stack([flags.get(task, none) for task in group]))
                for group in self.groups
            ]
        )


def linked_tasks(specs):
    """Tasks joined by what they see: a list of lists of names.

    The loss of a task that sees another may train that one too.
    """
    groups = []
    for spec in specs:
        own = [group for group in groups if {spec.name, *spec.sees} & set(group)]
        groups = [group for group in groups if group not in own]
        groups.append([*(name for group in own for name in group), spec.name])
    return groups


@contextlib.contextmanager
def traced_scales(optimizer, values):
    """Lets the loss see the scales among the values of an optimiser's variables."""
    scales = getattr(optimizer, "scales", None)
    found = None
    if scales is not None and values is not None:
        found = {id(v): value for v, value in zip(optimizer.variables, values)}
        found = found.get(id(scales.scale))
    token = _TRACED.set(found)
    try:
        yield
    finally:
        _TRACED.reset(token)
