"""Every task trained as by an optimiser of its own, behind the one that users see."""

import keras
from keras import ops


class TaskOptimizers:
    """Makes one optimiser treat every task as if it were trained alone.

    Clipping by global norm, momentum, Adam's step count and weight decay are
    each task's own, and a step in which a task has no gradient (no example
    had a label for it) leaves its variables and their slots as they are. The
    learning rate alone is common: it follows the steps of `fit`.

    The optimiser stays the object that was given to `compile`, so callbacks,
    `get_config` and `isinstance` see what they expect; its `build` and
    `apply`, which all of Keras' trainers go through, are replaced on it.

    Args:
        optimizer: an unbuilt `keras.optimizers.Optimizer`.
        task_layers: dict from task name to the layer that owns its variables.
        multipliers: dict from a variable's `id` to a factor of its learning
            rate, see `rate_multipliers`.
    """

    def __init__(self, optimizer, task_layers, multipliers):
        self.outer = optimizer
        self.config = optimizer.get_config()  # here, where nothing is traced yet
        self.tasks = list(task_layers)
        self.owners = {
            id(variable): name
            for name, layer in task_layers.items()
            for variable in layer.weights
        }
        self.multipliers = multipliers
        self.inner = {}
        self.finished = None
        self._rate = None
        optimizer.build = self.build
        optimizer.apply = self.apply

    def build(self, variables):
        """Creates one optimiser a task; their state becomes the outer's."""
        outer = self.outer
        by_task = {}
        for variable in variables:
            by_task.setdefault(self.owners[id(variable)], []).append(variable)
        averages = {}
        for task, own in by_task.items():
            optimizer = self._clone(task)
            optimizer.build(own)
            _scale_rates(optimizer, self.multipliers)
            for variable in optimizer.variables:
                outer._track_variable(variable)
            if outer.use_ema:
                averages.update(
                    zip(map(id, own), optimizer._model_variables_moving_average)
                )
            self.inner[task] = optimizer
        # 1 = the task no longer changes, set by `TaskEarlyStopping`.
        self.finished = outer.add_variable(
            shape=(len(self.tasks),),
            name="finished",
            aggregation="only_first_replica",
        )
        # Past `__setattr__`, which would count these as the optimiser's state.
        vars(outer)["_trainable_variables"] = list(variables)
        if outer.use_ema:
            vars(outer)["_model_variables_moving_average"] = [
                averages[id(variable)] for variable in variables
            ]
        outer.built = True

    def set_finished(self, tasks):
        """Names the tasks that no longer change; all others do."""
        if not self.outer.built:
            return  # nothing has finished yet
        flags = [float(name in tasks) for name in self.tasks]
        self.finished.assign(flags)

    def apply(self, grads, trainable_variables=None):
        """Updates the variables of the tasks that have gradients."""
        outer = self.outer
        if not outer.built:
            outer.build(list(trainable_variables))
        variables = trainable_variables or outer._trainable_variables
        by_task = {}
        for grad, variable in zip(grads, variables):
            if grad is not None:
                by_task.setdefault(self.owners[id(variable)], []).append(
                    (grad, variable)
                )
        self._rate = outer._get_current_learning_rate()
        try:
            for task, pairs in by_task.items():
                self._apply(task, *zip(*pairs))
        finally:
            self._rate = None  # a tracer must not outlive its trace
        outer._iterations.assign_add(1)

    def _apply(self, task, grads, variables):
        optimizer = self.inner[task]
        if _is_distributed():  # averaged over replicas: it cannot be masked here
            return optimizer.apply(grads, variables)
        has_gradient = ops.any(ops.stack([ops.any(grad != 0) for grad in grads]))
        finished = self.finished.value[self.tasks.index(task)] != 0
        active = ops.logical_and(has_gradient, ops.logical_not(finished))
        changed = [*variables, *optimizer.variables]
        before = [ops.copy(ops.convert_to_tensor(v.value)) for v in changed]
        optimizer.apply(grads, variables)
        for variable, old in zip(changed, before):
            variable.assign(ops.where(active, variable.value, old))

    def _clone(self, task):
        outer = self.outer
        config = {**self.config, "name": task}
        config["learning_rate"] = lambda: self._rate
        clone = type(outer).from_config(config)
        for name in (
            "_exclude_from_weight_decay",
            "_exclude_from_weight_decay_pattern",
        ):
            if hasattr(outer, name):
                setattr(clone, name, getattr(outer, name))
        return clone


def _scale_rates(optimizer, multipliers):
    """Multiplies the learning rate, and with it weight decay, variable by variable."""
    update = optimizer._backend_update_step
    decay = optimizer._apply_weight_decay
    rate = optimizer._learning_rate  # a function, see `_clone`

    def by_multiplier(variables):
        groups = {}
        for i, variable in enumerate(variables):
            groups.setdefault(multipliers[id(variable)], []).append(i)
        return groups.items()

    def scaled_update(grads, variables, learning_rate):
        groups = by_multiplier(variables)
        if len(groups) > 1 and isinstance(optimizer, keras.optimizers.Nadam):
            raise ValueError(  # its momentum schedule advances at every update
                "`learning_rate_multipliers` must be one number a task with Nadam, "
                "which updates all variables of a task at once. Received: "
                f"{sorted(multiplier for multiplier, _ in groups)} for task "
                f"'{optimizer.name}'"
            )
        for multiplier, own in groups:
            picked = [grads[i] for i in own], [variables[i] for i in own]
            update(*picked, learning_rate * multiplier)

    def scaled_decay(variables):
        for multiplier, own in by_multiplier(variables):
            optimizer._learning_rate = lambda m=multiplier: rate() * m
            decay([variables[i] for i in own])
        optimizer._learning_rate = rate

    optimizer._backend_update_step = scaled_update
    optimizer._apply_weight_decay = scaled_decay


def _is_distributed():
    """Whether this runs on TensorFlow's replicas, under `tf.distribute`."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy()
