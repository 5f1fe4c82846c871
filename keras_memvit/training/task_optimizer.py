"""Every task trained as by an optimiser of its own, behind the user's one."""

import functools
import types

import keras
from keras import ops

from keras_memvit.training.loss_scales import GROWTH_STEPS
from keras_memvit.training.loss_scales import LossScales
from keras_memvit.training.optimizer_state import load_state
from keras_memvit.training.optimizer_state import save_state
from keras_memvit.training.optimizer_tasks import check_wrappable
from keras_memvit.training.optimizer_tasks import rates_of
from keras_memvit.training.replicas import sum_of_replicas
from keras_memvit.training.schedules import WarmupCosine
from keras_memvit.training.step_plan import labelled_tasks
from keras_memvit.training.stopping_state import StoppingState
from keras_memvit.training.task_clone import clone_for_task
from keras_memvit.training.task_steps import TaskStep
from keras_memvit.training.task_steps import take_steps
from keras_memvit.training.tensorflow_execution import eagerly


@keras.saving.register_keras_serializable(package="keras_memvit")
class TaskOptimizer(keras.optimizers.Optimizer):
    """Wraps an optimiser so that it treats every task as if it were trained alone.

    For each task `t` with variables `w_t`, gradient `g_t` and a copy `O_t` of the
    optimiser of its own (slots, step count, averages, accumulators),

        w_t, O_t = O_t(w_t, g_t)    if t has labels in the step, or g_t != 0,
                                    finite where scaled, t not finished
        w_t, O_t = w_t, O_t         otherwise

    so clipping by global norm, momentum, Adam's step count and weight decay are
    each task's own, and a step without labels for a task leaves it as it is.
    The learning rate alone is common: it is that of the wrapped optimiser,
    whose `iterations` count the steps of `fit`. That object is the user's; it
    carries the rate and the steps, and no method of it is replaced.

    With `initial_scale`, or around a `keras.optimizers.LossScaleOptimizer`
    (whose settings it takes), each task's loss is scaled by a dynamic scale of
    its own, see `LossScales`. Losses of `add_loss` belong to no task and are not.

    On TensorFlow's replicas (`tf.distribute`) and in torch's processes
    (`data_parallel`) gradients are summed before all this, and a task takes a step
    where any replica has labels for it.

    `MemoryViT.compile` makes it; given one, it wraps the `inner_optimizer` anew:
    slots start afresh, `iterations` go on.

    Args:
        inner_optimizer: the `keras.optimizers.Optimizer` to wrap.
        tasks: dict from task name to a list of `(variable, factor)`, its
            variables and the factors of their learning rates, see
            `rates_by_task`. Not part of the config: `compile` knows them.
        linked: optional list of lists of tasks whose losses reach each other's
            variables. Defaults to each task by itself.
        initial_scale: optional float. `None` scales no loss.
        dynamic_growth_steps: int. Finite steps after which a scale is doubled.
        name: optional str.

    Attributes:
        inner: read-only dict from task name to the task's optimiser, once built.
        scales: `LossScales`, or `None`.

    Raises:
        ValueError: if `inner_optimizer` cannot be wrapped, or `build` meets a
            variable of no task.
    """

    def __init__(
        self,
        inner_optimizer,
        tasks=None,
        linked=None,
        initial_scale=None,
        dynamic_growth_steps=GROWTH_STEPS,
        name=None,
    ):
        check_wrappable(inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        if isinstance(inner_optimizer, keras.optimizers.LossScaleOptimizer):
            initial_scale = inner_optimizer.initial_scale
            dynamic_growth_steps = inner_optimizer.dynamic_growth_steps
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        # Read-only views, which Keras neither tracks nor saves again.
        self._rates = types.MappingProxyType(dict(tasks or {}))
        self.inner = types.MappingProxyType({})
        self.scales = None
        if initial_scale is not None:
            groups = linked or [[task] for task in self._rates]
            self.scales = LossScales(groups, initial_scale, dynamic_growth_steps)
        self.finished = None  # (tasks,) 1 = no longer changes, made by `build`
        self.span = None  # (2,) steps of the schedule, made by `build`
        self.stopping = StoppingState()

    # === Learning rate and steps: the user's optimiser's ===

    @property
    def base_optimizer(self):
        """The optimiser that tasks have copies of, inside any loss scaling."""
        inner = self.inner_optimizer
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            return inner.inner_optimizer
        return inner

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    # === Variables ===

    def build(self, variables):
        """Makes one optimiser a task, for those of its variables that are given."""
        if not self.built:
            with eagerly():
                self._build(variables)

    def _build(self, variables):
        base = self.base_optimizer
        self.inner = types.MappingProxyType(
            {
                task: clone_for_task(base, task, pairs)
                for task, pairs in rates_of(self._rates, variables).items()
            }
        )
        self.finished = self.add_variable(
            shape=(len(self._rates),), name="finished", aggregation="only_first_replica"
        )
        if self.scales is not None:
            self.scales.build(self)
        self.span = self.add_variable(
            shape=(2,), name="span", aggregation="only_first_replica"
        )
        self.bind_schedule()
        super().build(variables)
        if base.use_ema:  # where `keras.callbacks.SwapEMAWeights` looks for them
            copies = self.inner.values()
            for name in ("_trainable_variables", "_model_variables_moving_average"):
                vars(base)[name] = [v for copy in copies for v in getattr(copy, name)]

    def bind_schedule(self):
        """Makes the schedule read its span from this optimiser's variable."""
        schedule = self.base_optimizer._learning_rate
        if self.span is not None and isinstance(schedule, WarmupCosine):
            schedule.bind(self.span)

    @property
    def variables(self):
        """All that a step reads."""
        return self.lasting_variables + ([] if self.span is None else [self.span])

    @property
    def lasting_variables(self):
        """Steps and rate, the tasks' states, and what decides who is trained.

        That is, all but the schedule's span, which each `fit` sets.
        """
        variables = self.base_optimizer.variables
        for optimizer in self.inner.values():
            variables += optimizer.variables
        if self.finished is not None:
            variables.append(self.finished)
        if self.scales is not None:
            variables += self.scales.variables
        return variables

    def set_weights(self, weights):
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    def save_own_variables(self, store):
        save_state(self, store)

    def load_own_variables(self, store):
        load_state(self, store)

    def __dir__(self):
        # Keras saves and loads whatever it finds here; `variables` has it already.
        return sorted({*super().__dir__()} - {"inner_optimizer", "base_optimizer"})

    def set_finished(self, tasks):
        """Names the tasks that no longer change; all others do."""
        if self.built:  # else nothing has finished yet
            self.finished.assign([float(name in tasks) for name in self._rates])

    # === Steps ===

    def loss_scaling(self, task):
        """What scales the task's loss: a function of the loss, or `None`."""
        if self.scales is None:
            return None
        return functools.partial(self.scales.scale_loss, task)

    def scale_loss(self, loss):
        """The static `loss_scale_factor`; dynamic scales are in each task's loss."""
        return self.base_optimizer.scale_loss(loss)

    def apply(self, grads, trainable_variables=None):
        """Updates the variables of the tasks that have gradients."""
        grads = list(grads)
        variables = list(trainable_variables or self._trainable_variables)
        if not self.built:
            self.build(variables)
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must hold one gradient for each variable. Received: "
                f"{len(grads)} gradients for {len(variables)} variables"
            )
        self._require_known(variables)
        known = [(v, g) for v, g in zip(variables, grads) if g is not None]
        sums = sum_of_replicas([gradient for _, gradient in known])
        gradients = {id(v): gradient for (v, _), gradient in zip(known, sums)}
        finished = ops.convert_to_tensor(self.finished) != 0
        finished = {task: finished[i] for i, task in enumerate(self._rates)}
        steps, trained, finite = [], {}, {}
        labelled = labelled_tasks(self)
        for task, optimizer in self.inner.items():
            own = [v for v in optimizer._trainable_variables if id(v) in gradients]
            if own:
                grads = [gradients[id(v)] for v in own]
                flags = [ops.any(grad != 0) for grad in grads]
                flags += [labelled[task]] if task in labelled else []
                wanted = ops.any(ops.stack(flags))
                wanted = ops.logical_and(wanted, ops.logical_not(finished[task]))
                trained[task] = wanted
                active = wanted
                if self.scales is not None:
                    grads, finite[task] = self.scales.unscaled(task, grads)
                    active = ops.logical_and(wanted, finite[task])
                steps.append(TaskStep(optimizer, grads, own, active))
        take_steps(steps, self.base_optimizer)
        if self.scales is not None:
            self.scales.update(trained, finite)
        self.base_optimizer._iterations.assign_add(1)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        if len(trainable_variables) != len(self._trainable_variables):
            raise ValueError(
                "The optimizer was built for other trainable variables: call "
                f"`compile()` again. Received: {len(trainable_variables)} variables "
                f"after {len(self._trainable_variables)}"
            )
        return super().stateless_apply(optimizer_variables, grads, trainable_variables)

    def _require_known(self, variables):
        known = set(map(id, self._trainable_variables))
        if strays := [v.path for v in variables if id(v) not in known][:5]:
            raise ValueError(
                "The optimizer was built before these variables were trainable: call "
                f"`compile()` again. Received: {strays}"
            )

    def finalize_variable_values(self, var_list):
        """Gives the variables their averages; of tasks that have any (`use_ema`)."""
        given = {id(variable) for variable in var_list}
        for optimizer in self.inner.values():
            own = optimizer._trainable_variables
            averaged = optimizer.use_ema and given.issuperset(map(id, own))
            # Before a first step values may have been loaded after the averages.
            if averaged and optimizer._iterations.numpy() > 0:
                optimizer.finalize_variable_values(own)
                _unshare(own)

    # === Config ===

    def get_config(self):
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(
                self.inner_optimizer
            ),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["inner_optimizer"] = keras.saving.deserialize_keras_object(
            config["inner_optimizer"], custom_objects=custom_objects
        )
        return cls(**config)


def _unshare(variables):
    """Variables that hold an average's own buffer would fail the next fit on JAX."""
    if keras.backend.backend() == "jax":
        for variable in variables:
            variable.assign(ops.copy(variable))
