"""Loss and metrics of each task, counting only the examples it has labels for."""

import keras
import numpy as np
from keras import ops

from keras_memvit.training.labels import split_labels


class TaskObjective:
    """One task's loss, metrics and class weights.

    `loss = sum_i v_i s_i w_(y_i) l_i / sum_i v_i` over a batch, with `v_i` = 1
    where example `i` has a label, sample weights `s` and class weights `w`.
    Logits of examples without a label are zeros to the loss: 0 times a loss
    that is not a number would not be 0, nor would its gradient.

    Args:
        spec: the `TaskSpec`.
        loss: a `keras.losses.Loss`, or None for metrics only.
        loss_weight: float, the task's share in the total loss.
        metrics, weighted_metrics: lists of `keras.metrics.Metric`; only the
            latter count the sample weights.
    """

    def __init__(self, spec, loss, loss_weight, metrics, weighted_metrics):
        self.spec = spec
        self.loss = loss
        self.loss_weight = loss_weight
        self.metrics = metrics
        self.weighted_metrics = weighted_metrics
        self.loss_tracker = keras.metrics.Mean(name=f"{spec.name}_loss")
        self.label_errors = keras.metrics.Sum(name=f"{spec.name}_label_errors")
        self.class_weight = None  # (num_classes,) array, set by `fit`
        self.loss_scaling = None  # a function of the loss, set by `compile`

    def compute_loss(self, labels, logits, sample_weight=None, training=True):
        """The task's weighted loss over the labelled examples of a batch."""
        labels, valid, errors = split_labels(labels, self.spec.num_classes)
        self.label_errors.update_state(errors)
        count = ops.sum(valid)
        weight = valid
        if self.loss.reduction in ("sum_over_batch_size", "mean"):
            # Keras divides by the batch; the mean is over labelled examples.
            batch = ops.cast(ops.shape(valid)[0], "float32")
            weight = weight * (batch / ops.maximum(count, 1.0))
        if sample_weight is not None:
            weight = weight * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        if training and self.class_weight is not None:
            weight = weight * self._class_weights(labels)
        loss = self.loss(labels, _only_valid(logits, valid), sample_weight=weight)
        self.loss_tracker.update_state(loss, sample_weight=count)
        loss = loss * self.loss_weight
        if training and self.loss_scaling is not None:
            loss = self.loss_scaling(loss)
        return loss

    def update_metrics(self, labels, logits, sample_weight=None):
        """Updates the metrics with the labelled examples of a batch."""
        labels, valid, _ = split_labels(labels, self.spec.num_classes)
        logits = _only_valid(logits, valid)
        for metric in self.metrics:
            metric.update_state(labels, logits, sample_weight=valid)
        if sample_weight is not None:
            valid = valid * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        for metric in self.weighted_metrics:
            metric.update_state(labels, logits, sample_weight=valid)

    def _class_weights(self, labels):
        if len(labels.shape) > 1:
            labels = ops.argmax(labels, axis=-1)
        return ops.take(ops.convert_to_tensor(self.class_weight), labels)


def _only_valid(logits, valid):
    """The logits `(B, C)`, zeros in rows whose example has no label."""
    return ops.where(valid[:, None] > 0, logits, ops.zeros_like(logits))


def build_objectives(specs, loss, loss_weights, metrics, weighted_metrics):
    """One `TaskObjective` a task from the arguments of `compile`.

    Args:
        specs: list of `TaskSpec`.
        loss, loss_weights: one for all tasks, or a dict by task name.
        metrics, weighted_metrics: a list for all tasks, or a dict by task
            name; strings, functions or `Metric` objects.

    Returns:
        A dict from task name to `TaskObjective`.
    """
    losses = _by_task("loss", loss, specs)
    weights = _by_task("loss_weights", loss_weights, specs)
    metrics = _by_task("metrics", metrics, specs)
    weighted_metrics = _by_task("weighted_metrics", weighted_metrics, specs)
    objectives = {}
    for spec in specs:
        name = spec.name
        task_loss = _get_loss(losses[name])
        objectives[name] = TaskObjective(
            spec,
            task_loss,
            1.0 if weights[name] is None else float(weights[name]),
            [_get_metric(m, name, task_loss) for m in _as_list(metrics[name])],
            [_get_metric(m, name, task_loss) for m in _as_list(weighted_metrics[name])],
        )
    return objectives


def parse_class_weight(class_weight, specs, trained):
    """`{task: {class: weight}}`, or `{class: weight}` for one trained task.

    Returns:
        A dict from task name to a float32 array `(num_classes,)`.
    """
    if class_weight is None:
        return {}
    names = [spec.name for spec in specs]
    if not any(isinstance(value, dict) for value in class_weight.values()):
        candidates = trained or names
        if len(candidates) != 1:
            raise ValueError(
                "`class_weight` must be a dict by task name, {task: {class: weight}}, "
                f"since the model trains {candidates}. "
                f"Received: class_weight={class_weight}"
            )
        class_weight = {candidates[0]: class_weight}
    table = {}
    for name, weights in _by_task("class_weight", class_weight, specs).items():
        if weights is None:
            continue
        size = specs[names.index(name)].num_classes
        if not all(isinstance(c, (int, np.integer)) and 0 <= c < size for c in weights):
            raise ValueError(
                f"`class_weight` of task '{name}' must be keyed by classes 0 to "
                f"{size - 1}. Received: {weights}"
            )
        table[name] = np.ones(size, "float32")
        for index, weight in weights.items():
            table[name][index] = weight
    return table


def _by_task(argument, value, specs):
    """Spreads one value over all tasks, or checks a dict by task name."""
    names = [spec.name for spec in specs]
    if not isinstance(value, dict):
        return dict.fromkeys(names, value)
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ValueError(
            f"`{argument}` must be keyed by the model's tasks {names}. "
            f"Received the unknown task names {unknown}"
        )
    return {name: value.get(name) for name in names}


def _get_loss(loss):
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    if loss == "sparse_categorical_crossentropy":  # our outputs are logits
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if loss == "categorical_crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    resolved = keras.losses.get(loss)
    if isinstance(resolved, keras.losses.Loss):
        return resolved
    return _FunctionLoss(resolved)


class _FunctionLoss(keras.losses.Loss):
    """A loss function of `(y_true, y_pred)` with Keras' mean reduction."""

    def __init__(self, function):
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.call = function

    def call(self, y_true, y_pred):
        """Replaced by the function."""


def _get_metric(metric, task, loss):
    """A fresh metric named `<task>_<metric>`."""
    if isinstance(metric, keras.metrics.Metric):
        config = metric.get_config()
        config["name"] = f"{task}_{metric.name}"
        return type(metric).from_config(config)
    name = metric if isinstance(metric, str) else metric.__name__
    full_name = f"{task}_{name}"
    if name in ("accuracy", "acc"):
        if isinstance(loss, keras.losses.CategoricalCrossentropy):
            return keras.metrics.CategoricalAccuracy(name=full_name)
        return keras.metrics.SparseCategoricalAccuracy(name=full_name)
    resolved = keras.metrics.get(metric)
    if isinstance(resolved, keras.metrics.Metric):
        return _get_metric(resolved, task, loss)
    return keras.metrics.MeanMetricWrapper(resolved, name=full_name)


def _as_list(value):
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
