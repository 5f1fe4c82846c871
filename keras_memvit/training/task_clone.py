"""A task's own copy of an optimiser, with a learning rate for each group of weights."""

import contextlib
import contextvars
import functools

import keras
from keras import ops

_GIVEN = contextvars.ContextVar("keras_memvit_given_rates", default=None)


def clone_for_task(optimizer, task, rates):
    """A built copy of an optimiser for the variables of one task.

    Step `t` of a variable in a group with the factor `f` is taken at the rate
    `f * optimizer.learning_rate`, read when the step is computed: schedules,
    callbacks and assignments to the original reach every copy. Averages
    (`use_ema`) start at the variables' values, not at Keras' zeros, so that a
    task that is never trained is averaged to itself.

    Args:
        optimizer: a `keras.optimizers.Optimizer`; it is not changed.
        task: str. The copy's name.
        rates: list of `(variable, factor)`.

    Returns:
        An optimiser of the same class, or of a subclass where the factors differ, and
        on TensorFlow.
    """
    groups = {}
    for variable, factor in rates:
        groups.setdefault(factor, []).append(variable)
    kind, factor = _of_sums(type(optimizer)), next(iter(groups))
    if len(groups) > 1:
        kind, factor = _with_rates_by_group(kind), 1.0
    config = {**optimizer.get_config(), "name": task}
    config["learning_rate"] = GroupRate(optimizer, factor)
    clone = kind.from_config(config)
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):  # in no config
            setattr(clone, name, getattr(optimizer, name))
    variables = [variable for variable, _ in rates]
    clone.build(variables)
    if len(groups) > 1:
        clone.set_groups(groups, optimizer)
    if clone.use_ema:
        for average, variable in zip(clone._model_variables_moving_average, variables):
            average.assign(ops.copy(variable))  # JAX donates buffers, and only once
    return clone


class RatesByGroup:
    """In front of an optimiser class: a learning rate for each group of variables.

    Clipping, accumulation and averages stay those of the class, over all
    variables together. The step and weight decay are made group by group, by a
    view of the optimiser: an object of its class that shares all its state and
    differs in the learning rate alone.
    """

    def set_groups(self, groups, optimizer):
        """Makes the views.

        Args:
            groups: dict from factor to variables.
            optimizer: whose learning rate is multiplied.
        """
        views = []
        for i, (factor, variables) in enumerate(groups.items()):
            view = object.__new__(type(self).__bases__[1])
            vars(view).update(vars(self))
            vars(view)["_learning_rate"] = GroupRate(optimizer, factor, i)
            if isinstance(view, keras.optimizers.Nadam):  # each step advances it
                vars(view)["_u_product"] = self.add_variable(
                    (), "ones", self._u_product.dtype, name="u_product"
                )
            views.append((view, {id(variable) for variable in variables}))
        vars(self)["_views"] = views  # past the tracking of attributes

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        grads = {id(v): grad for v, grad in zip(trainable_variables, grads)}
        for view, own in self._by_group(trainable_variables):
            view._backend_update_step(
                [grads[id(v)] for v in own], own, view.learning_rate
            )

    def _apply_weight_decay(self, variables):
        for view, own in self._by_group(variables):
            view._apply_weight_decay(own)

    def _by_group(self, variables):
        for view, members in self._views:
            own = [variable for variable in variables if id(variable) in members]
            if own:
                yield view, own


class OfSums:
    """In front of an optimiser class on TensorFlow: gradients come summed.

    Keras sums them over replicas after clipping, which then differs from one device's.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)


@functools.cache
def _of_sums(kind):
    if keras.backend.backend() != "tensorflow":
        return kind
    return type(kind.__name__, (OfSums, kind), {})


@functools.cache
def _with_rates_by_group(kind):
    return type(f"{kind.__name__}ByGroup", (RatesByGroup, kind), {})


class GroupRate:
    """A group's learning rate as a callable: `factor * optimizer.learning_rate`.

    Args:
        optimizer: whose learning rate is multiplied.
        factor: float.
        group: int. Its place among the rates of `given_rates`.
    """

    def __init__(self, optimizer, factor, group=0):
        self.optimizer, self.factor, self.group = optimizer, factor, group

    def __call__(self):
        given = _GIVEN.get()
        if given is not None:
            return given[self.group]
        rate = self.optimizer.learning_rate
        return rate if self.factor == 1.0 else rate * self.factor

    def get_config(self):
        return {"factor": self.factor, "group": self.group}


@contextlib.contextmanager
def given_rates(rates):
    """Lets tasks' optimisers take these rates, one a group, in this thread."""
    token = _GIVEN.set(rates)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def factors_of(clone, variables):
    """The group of each variable of a `clone_for_task`, and the groups' factors."""
    views = getattr(clone, "_views", None)
    if views is None:
        return (0,) * len(variables), (clone._learning_rate.factor,)
    groups = [
        next(i for i, (_, members) in enumerate(views) if id(variable) in members)
        for variable in variables
    ]
    return tuple(groups), tuple(view._learning_rate.factor for view, _ in views)
