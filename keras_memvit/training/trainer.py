"""Training a model of several tasks with `compile`, `fit` and `evaluate`."""

import keras
import numpy as np

from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.training.class_weights import WeighsClasses
from keras_memvit.training.image_scale import LooksAtScale
from keras_memvit.training.labels import check_labels
from keras_memvit.training.labels import labels_by_task
from keras_memvit.training.loops import TaskLoops
from keras_memvit.training.objectives import build_objectives
from keras_memvit.training.portable_config import portable_optimizers
from keras_memvit.training.replicas import sum_of_replicas
from keras_memvit.training.schedules import paper_optimizer
from keras_memvit.training.step_plan import labelled_step
from keras_memvit.training.step_plan import planned
from keras_memvit.training.target_statistics import StandardizesTargets
from keras_memvit.training.task_optimizer import TaskOptimizer
from keras_memvit.training.task_updates import UpdatesTasksApart
from keras_memvit.training.torch_processes import labelled_by_all
from keras_memvit.training.torch_processes import num_processes
from keras_memvit.training.torch_processes import summed

AUTO = "auto"
ADDED_LOSS = "added_loss"  # the mean of `add_loss`, part of "loss"
SCALED_IMAGES = "scaled_images"  # batches that are not in [0, 255]


class TaskTrainer(
    UpdatesTasksApart, WeighsClasses, StandardizesTargets, LooksAtScale, TaskLoops
):
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
            loss: one for all tasks, a dict by task name, or a list with one for each
                task. Outputs are logits: Keras' losses by name are on logits, and a
                loss object that is not is refused. Defaults to that of the task's
                kind: sparse categorical or binary cross-entropy, or squared error in
                units of the targets' scale.
            loss_weights: float, or a dict by task name, or a list.
            metrics: list for all tasks, a dict by task name, or a list of lists;
                reported as `<task>_<metric>`. Keras' metrics get logits or
                probabilities, class indices or rows, as each expects; your own get
                labels as given and logits. Defaults to that of the task's kind:
                accuracy; mean average precision and F1 (threshold 0.5, mean over
                columns); mean absolute error in the labels' units.
            weighted_metrics: the same, counting sample weights.
            learning_rate_multipliers: optional dict from task name to a factor
                of the optimiser's learning rate (and weight decay), or to a
                dict of factors by group: `"class_token"`, `"memory"`, `"head"`, and the
                readout's and adapter's (`"queries"`, `"side"`, `"synthesis"`,
                `"adapter"`, `"feature_norm"`, `"reads"`). What is not named has the
                factor 1.
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
            self.specs, loss, loss_weights, metrics, weighted_metrics
        )
        for name, objective in self.objectives.items():
            if objective.spec.kind == "regression":
                objective.standardize = self.task_layers[name].standardize
        optimizer = paper_optimizer() if optimizer == AUTO else optimizer
        optimizer = keras.optimizers.get(optimizer)
        if isinstance(optimizer, TaskOptimizer):
            optimizer = optimizer.inner_optimizer
        kwargs["auto_scale_loss"] = False  # ours is by task
        super().compile(optimizer=optimizer, **kwargs)
        # Past Keras' tracking, which would report the caller's metrics as well.
        vars(self)["_task_compile_config"] = config
        vars(self)["_added_loss"] = keras.metrics.Mean(name=ADDED_LOSS)
        vars(self)["_scaled_images"] = keras.metrics.Sum(name=SCALED_IMAGES)
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
        own = [self._added_loss, self._scaled_images] if self.objectives else []
        for objective in self.objectives.values():
            own += [*objective.metrics, objective.label_errors]
        return super().metrics + own

    @property
    def metrics_names(self):
        """Names of what `evaluate` returns, in its order."""
        hidden = self._hidden_metrics()
        return [m.name for m in self.metrics if m.name not in hidden]

    def get_metrics_result(self):
        """Metric values by name; a task's loss only beside other tasks'."""
        result = super().get_metrics_result()
        # Keras' mean counts batches without labels. This is over labelled examples.
        result["loss"] = sum(
            (
                objective.loss_weight * objective.loss_tracker.result()
                for objective in self.objectives.values()
            ),
            result[ADDED_LOSS],
        )
        hidden = self._hidden_metrics()
        return {name: value for name, value in result.items() if name not in hidden}

    def _get_metrics_result_or_logs(self, logs):
        # What Keras' loops ask at the end of an epoch or of `evaluate`.
        with summed(self.metrics):
            return super()._get_metrics_result_or_logs(logs)

    def _hidden_metrics(self):
        hidden = {o.label_errors.name for o in self.objectives.values()}
        if len(self.objectives) == 1:
            hidden |= {o.loss_tracker.name for o in self.objectives.values()}
        return hidden | {ADDED_LOSS, SCALED_IMAGES}

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Sum over tasks of their weighted losses, each over its labelled examples."""
        labels = self._labels_by_task(y)
        if training:
            labels = labelled_by_all(labels, self.specs)
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
        added = [keras.ops.sum(keras.ops.cast(x, "float32")) for x in self.losses]
        if added:
            self._added_loss.update_state(sum(added[1:], added[0]))
        share = 1 / num_processes()
        added = [share * self._aggregate_additional_loss(loss) for loss in added]
        return sum([*losses[1:], *added], losses[0])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self._count_scaled(x)
        weights = self._sample_weights(sample_weight)
        for name, value in self._labels_by_task(y).items():
            self.objectives[name].update_metrics(value, y_pred[name], weights.get(name))
        return self.get_metrics_result()

    def train_step(self, *args):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        labels = labelled_by_all(self._labels_by_task(y), self.specs)
        with (
            self._computing_labelled(labels),
            labelled_step(self.optimizer, self._labelled(labels)),
        ):
            return super().train_step(*args)

    def test_step(self, *args):
        _, y, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        with self._computing_labelled(self._labels_by_task(y)):
            return super().test_step(*args)

    def _computing_labelled(self, labels):
        """Spares the work of tasks that have no labels in this batch."""
        return planned(self.encoder, labels or self.task_layers, self.train_seen)

    def _labelled(self, labels):
        """Which tasks this batch trains: a dict from name to a boolean scalar."""
        found = {
            name: self.objectives[name].has_labels(value)
            for name, value in labels.items()
            if self.objectives[name].loss is not None
        }
        if self.train_seen:
            for name, seen in visible_tasks(self.specs).items():
                for other in seen if name in found else ():
                    known = found.get(other, found[name])
                    found[other] = keras.ops.logical_or(known, found[name])
        return found

    def raise_label_errors(self):
        """Raises if labels out of range were met since this was asked last."""
        found = {
            name: int(sum_of_replicas(objective.label_errors.result()))
            for name, objective in self.objectives.items()
        }
        for name, count in found.items():
            if count:
                for objective in self.objectives.values():
                    objective.label_errors.reset_state()
                raise ValueError(self.objectives[name].error_message(count))

    def _require_compiled(self, training=False):
        if not self.compiled:
            raise ValueError(
                "Call `compile()` before `fit()` or `evaluate()`; without arguments "
                "it uses the paper's recipe."
            )
        if training and self.optimizer is None:
            raise ValueError(
                "Call `compile()` with an optimizer before training. "
                "Received: optimizer=None"
            )

    def _labels_by_task(self, y):
        return labels_by_task(y, self.specs, self.trained_tasks)

    def _check_labels(self, y):
        """Checks array labels up front; a lone array becomes a dict."""
        if y is not None:
            y = self._labels_by_task(y)
            check_labels(y, self.objectives)
            y = {name: _as_indices(value) for name, value in y.items()}
        return y

    def _sample_weights(self, sample_weight):
        if isinstance(sample_weight, dict):
            return labels_by_task(sample_weight, self.specs, (), "sample_weight")
        return dict.fromkeys([spec.name for spec in self.specs], sample_weight)


def _as_indices(labels):
    """Lists as arrays, and columns (n, 1) as (n,), so that shapes agree."""
    if isinstance(labels, (list, tuple)):
        labels = np.asarray(labels)
    column = isinstance(labels, np.ndarray) and labels.shape[1:] == (1,)
    return labels[:, 0] if column else labels
