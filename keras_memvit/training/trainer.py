"""Training a model of several tasks with `compile`, `fit` and `evaluate`."""

import keras
import numpy as np

from keras_memvit.training.data_length import num_batches
from keras_memvit.training.labels import check_labels
from keras_memvit.training.labels import labels_by_task
from keras_memvit.training.loops import TaskLoops
from keras_memvit.training.objectives import build_objectives
from keras_memvit.training.objectives import parse_class_weight
from keras_memvit.training.portable_config import portable_optimizers
from keras_memvit.training.schedules import WarmupCosine
from keras_memvit.training.schedules import paper_optimizer
from keras_memvit.training.step_plan import planned
from keras_memvit.training.task_optimizer import TaskOptimizer
from keras_memvit.training.task_updates import UpdatesTasksApart

AUTO = "auto"


class TaskTrainer(UpdatesTasksApart, TaskLoops):
    """Keras' trainer for models whose outputs and labels are dicts by task.

    A mixin in front of `keras.Model`; the model has `specs` and
    `trained_tasks`.
    """

    objectives = {}
    train_seen = False

    def compile(
        self,
        optimizer=AUTO,
        loss=AUTO,
        loss_weights=None,
        metrics=AUTO,
        weighted_metrics=None,
        learning_rate_multipliers=None,
        train_seen=False,
        **kwargs,
    ):
        """Configures training; without arguments, by the paper's recipe.

        Args:
            optimizer: defaults to `keras_memvit.recipes.paper_optimizer()`:
                SGD, momentum 0.9, clipping by global norm 1, warm-up, cosine
                decay over the steps of `fit`.
            loss: one for all tasks or a dict by task name. Defaults to sparse
                categorical cross-entropy on logits.
            loss_weights: float, or a dict by task name.
            metrics: list for all tasks or a dict by task name, reported as
                `<task>_<metric>`. Defaults to accuracy.
            weighted_metrics: the same, counting sample weights.
            learning_rate_multipliers: optional dict from task name to a factor
                of the optimiser's learning rate (and weight decay), or to a
                dict of factors by group: `"class_token"`, `"memory"`, `"head"`, and
                the readout's (`"queries"`, `"side"`). What is not named has
                the factor 1.
            train_seen: bool. Whether a task that sees another trains it too. By
                default it attends to what the other has learned, and the other
                learns from its own labels alone.
            **kwargs: further arguments of `keras.Model.compile`.

        The model's `optimizer` is a `TaskOptimizer` around the given one. In
        `"mixed_float16"` it scales each task's loss, unless `auto_scale_loss=False`.
        """
        config = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "learning_rate_multipliers": learning_rate_multipliers,
            "train_seen": train_seen,
            # As asked for, not as resolved here: another backend may load it.
            "jit_compile": kwargs.get("jit_compile", AUTO),
            "auto_scale_loss": kwargs.get("auto_scale_loss", True),
        }
        self.objectives = build_objectives(
            self.specs,
            "sparse_categorical_crossentropy" if loss == AUTO else loss,
            loss_weights,
            ["accuracy"] if metrics == AUTO else metrics,
            weighted_metrics,
        )
        optimizer = paper_optimizer() if optimizer == AUTO else optimizer
        optimizer = keras.optimizers.get(optimizer)
        if isinstance(optimizer, TaskOptimizer):
            optimizer = optimizer.inner_optimizer
        kwargs["auto_scale_loss"] = False  # ours is by task
        super().compile(optimizer=optimizer, **kwargs)
        self._task_compile_config = config
        self.train_seen = bool(train_seen)
        self._update_tasks_apart(learning_rate_multipliers, config["auto_scale_loss"])

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            serialize = keras.saving.serialize_keras_object
            config.update(
                {k: serialize(v) for k, v in self._task_compile_config.items()}
            )
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(portable_optimizers(config))
        self.compile(**config)
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        own = []
        for objective in self.objectives.values():
            own += [objective.loss_tracker, objective.label_errors]
            own += objective.metrics + objective.weighted_metrics
        return super().metrics + own

    def get_metrics_result(self):
        """Metric values by name; a task's loss only beside other tasks'."""
        hidden = {o.label_errors.name for o in self.objectives.values()}
        if len(self.objectives) == 1:
            hidden |= {o.loss_tracker.name for o in self.objectives.values()}
        result = super().get_metrics_result()
        return {name: value for name, value in result.items() if name not in hidden}

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Sum over tasks of their weighted losses, each over its labelled examples."""
        labels = self._labels_by_task(y)
        weights = self._sample_weights(sample_weight)
        losses = [
            self.objectives[name].compute_loss(
                value, y_pred[name], weights.get(name), training=training
            )
            for name, value in labels.items()
            if self.objectives[name].loss is not None
        ]
        if not losses:
            raise ValueError(
                "`y` must hold labels of at least one task that has a loss. Received "
                f"labels of the tasks {list(labels)}; the model has the tasks "
                f"{[spec.name for spec in self.specs]}"
            )
        return sum([*losses[1:], *self.losses], losses[0])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        weights = self._sample_weights(sample_weight)
        for name, value in self._labels_by_task(y).items():
            self.objectives[name].update_metrics(value, y_pred[name], weights.get(name))
        return self.get_metrics_result()

    def train_step(self, *args):
        with self._computing_labelled(args[-1]):
            return super().train_step(*args)

    def test_step(self, *args):
        with self._computing_labelled(args[-1]):
            return super().test_step(*args)

    def _computing_labelled(self, data):
        """Spares the work of tasks that have no labels in this batch."""
        _, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        labels = self._labels_by_task(y)
        return planned(self.encoder, labels or self.task_layers, self.train_seen)

    def raise_label_errors(self):
        """Raises if labels out of range were met since the metrics were reset."""
        for objective in self.objectives.values():
            count = int(objective.label_errors.result())
            if count:
                spec = objective.spec
                raise ValueError(
                    f"Labels of task '{spec.name}' must be integers from 0 to "
                    f"{spec.num_classes - 1}, or -1 for no label. "
                    f"Received {count} labels out of range"
                )

    def _require_compiled(self):
        if not self.compiled:
            raise ValueError(
                "Call `compile()` before `fit()` or `evaluate()`; without arguments "
                "it uses the paper's recipe."
            )

    def _labels_by_task(self, y):
        return labels_by_task(y, self.specs, self.trained_tasks)

    def _check_labels(self, y):
        """Checks array labels up front; a lone array becomes a dict."""
        if y is not None:
            y = self._labels_by_task(y)
            check_labels(y, self.specs)
            y = {name: _as_indices(value) for name, value in y.items()}
        return y

    def _sample_weights(self, sample_weight):
        if isinstance(sample_weight, dict):
            return labels_by_task(sample_weight, self.specs, (), "sample_weight")
        return dict.fromkeys([spec.name for spec in self.specs], sample_weight)

    def _set_class_weight(self, class_weight):
        table = parse_class_weight(class_weight, self.specs, self.trained_tasks)
        changed = False
        for name, objective in self.objectives.items():
            changed |= not _same(objective.class_weight, table.get(name))
            objective.class_weight = table.get(name)
        return changed

    def _span_schedule(self, x, batch_size, epochs, kwargs):
        """Lets the recipe's schedule cover this fit; True if it changed."""
        optimizer = getattr(self.optimizer, "base_optimizer", None)
        schedule = getattr(optimizer, "_learning_rate", None)
        if not isinstance(schedule, WarmupCosine):
            return False
        steps = kwargs.get("steps_per_epoch") or num_batches(
            x, batch_size or 32, kwargs.get("validation_split", 0.0)
        )
        if steps is None:
            return schedule.span(0, None)
        first_epoch = kwargs.get("initial_epoch", 0)
        done = int(optimizer._iterations.numpy()) - first_epoch * steps
        return schedule.span(max(done, 0), steps * epochs)


def _as_indices(labels):
    """Lists as arrays, and columns (n, 1) as (n,), so that shapes agree."""
    if isinstance(labels, (list, tuple)):
        labels = np.asarray(labels)
    column = isinstance(labels, np.ndarray) and labels.shape[1:] == (1,)
    return labels[:, 0] if column else labels


def _same(a, b):
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))
