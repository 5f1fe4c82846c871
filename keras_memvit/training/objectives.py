"""Loss and metrics of each task, counting only the examples it has labels for."""

import keras
from keras import ops

from keras_memvit.training.compile_arguments import by_task_or_list
from keras_memvit.training.compile_arguments import lists_by_task
from keras_memvit.training.kinds import kind_of
from keras_memvit.training.labels import split_labels
from keras_memvit.training.losses import get_loss
from keras_memvit.training.metrics import get_metric
from keras_memvit.training.replicas import sum_of_replicas

AUTO = "auto"


class TaskObjective:
    """One task's loss, metrics and class weights.

    `loss = sum_i v_i s_i w_(y_i) l_i / sum_i v_i` over a batch, with `v_i` = 1
    where example `i` has a label, sample weights `s` and class weights `w`; where
    single columns have none, `l_i` is the mean over those that have one. Class weights
    of a multi-label task weigh the positives of each column. Losses of a regression are
    in units of the targets' scale.
    Logits of examples without a label are zeros to the loss: 0 times a loss
    that is not a number would not be 0, nor would its gradient.

    Args:
        spec: the `TaskSpec`.
        loss: a `LogitLoss`, or None for metrics only.
        loss_weight: float, the task's share in the total loss.
        link: how logits become probabilities, a key of `LINKS`.
        metrics, weighted_metrics: lists of `TaskMetric`; only the latter count the
            sample weights.
    """

    def __init__(self, spec, loss, loss_weight, link, metrics, weighted_metrics):
        self.spec = spec
        self.loss = loss
        self.loss_weight = loss_weight
        self.link = link
        self.task_metrics = metrics
        self.weighted_task_metrics = weighted_metrics
        self.loss_tracker = keras.metrics.Mean(name=f"{spec.name}_loss")
        self.label_errors = keras.metrics.Sum(name=f"{spec.name}_label_errors")
        self.class_weight = None  # (num_ids,) array, set by `fit`
        self.loss_scaling = None  # a function of the loss, set by `compile`
        self.standardize = None  # of a regression: a function of values, the same
        # Found when a step is traced: what its errors are about.
        self.takes_rows = False
        self.loss_is_scalar = False

    @property
    def num_ids(self):
        """Class indices are below it: one class that is there or not has two."""
        one = self.spec.num_classes == 1 and self.link == "sigmoid"
        return 2 if one else self.spec.num_classes

    @property
    def metrics(self):
        """All `keras.metrics.Metric` but the counter of errors."""
        tasks = [*self.task_metrics, *self.weighted_task_metrics]
        return [self.loss_tracker, *(task.metric for task in tasks)]

    def compute_loss(self, labels, logits, sample_weight=None, training=True):
        """The task's weighted loss over the labelled examples of a batch."""
        labels = self._split_for_loss(labels)
        self.takes_rows = labels.are_rows
        weight = labels.valid
        if sample_weight is not None:
            weight = weight * _column(sample_weight)
        table = self.class_weight if training else None
        losses = self._losses(labels, _only_valid(logits, labels.valid), table)
        if table is not None and not self._weighs_columns(labels):
            if self.spec.kind == "multi_label":
                raise ValueError(
                    f"`class_weight` of task '{self.spec.name}' needs a loss that has "
                    "columns, as 'binary_crossentropy', since its kind is "
                    f"'multi_label'. Received: {type(self.loss.loss).__name__}"
                )
            weight = weight * ops.take(ops.convert_to_tensor(table), labels.ids)
        errors, count = labels.errors, ops.sum(labels.valid)
        self.loss_is_scalar = len(losses.shape) == 0
        if self.loss_is_scalar:  # of all examples, also those without a label
            errors = errors + ops.cast(ops.size(labels.valid), "float32") - count
        self.label_errors.update_state(errors)
        total, weights = ops.sum(losses * weight), ops.sum(weight)
        self.loss_tracker.update_state(
            total / self._divisor(count, weights), sample_weight=count
        )
        if training:  # the mean over all replicas' examples: gradients are summed
            count, weights = sum_of_replicas([count, weights])
        loss = total / self._divisor(count, weights)
        loss = loss * self.loss_weight
        if training and self.loss_scaling is not None:
            loss = self.loss_scaling(loss)
        return loss

    def update_metrics(self, labels, logits, sample_weight=None):
        """Updates the metrics with the labelled examples of a batch."""
        labels = self._split(labels)
        weight, logits = labels.valid, _only_valid(logits, labels.valid)
        for metric in self.task_metrics:
            metric.update(labels, logits, weight)
        if sample_weight is not None:
            weight = weight * _column(sample_weight)
        for metric in self.weighted_task_metrics:
            metric.update(labels, logits, weight)

    def has_labels(self, labels):
        """Whether a batch has a label, on any replica: a boolean scalar."""
        count = ops.sum(self._split(labels).valid)
        return sum_of_replicas(count) > 0

    def legal_labels(self, rows):
        """What labels may be, for errors."""
        size = self.spec.num_classes
        if self.spec.kind == "regression":
            return f"rows of {size} finite values, or NaN for no label"
        if self.spec.kind == "multi_label":
            return f"rows of {size} answers of 0 or 1, or -1 for not known"
        if not rows:
            return f"integers from 0 to {self.num_ids - 1}, or -1 for no label"
        return {
            "softmax": f"rows of {size} shares of at least 0, or of -1 for no label",
            "sigmoid": f"rows of {size} values from 0 to 1, or -1 for no label",
            None: f"rows of {size} finite values, or of -1 for no label",
        }[self.link]

    def error_message(self, count):
        """What a number of errors means."""
        name = self.spec.name
        if self.loss_is_scalar:
            return (
                f"`loss` of task '{name}' must return a loss for each example, as with "
                "`axis=-1`: one number for a batch counts examples without a label. "
                f"Received {count} examples without a label"
            )
        return (
            f"Labels of task '{name}' must be {self.legal_labels(self.takes_rows)}. "
            f"Received {count} labels out of range"
        )

    def _split(self, labels):
        labels = split_labels(labels, self.spec, self.num_ids, self.link)
        if labels.are_rows and self.loss is not None and self.loss.labels == "ids":
            raise ValueError(
                f"Labels of task '{self.spec.name}' must be class indices (B,) with "
                f"the loss {type(self.loss.loss).__name__}. Received rows of shape "
                f"{tuple(labels.given.shape)}; they go with 'categorical_crossentropy'"
            )
        return labels

    def _weighs_columns(self, labels):
        return labels.columns is not None and self.loss.is_elementwise

    def _split_for_loss(self, labels):
        """A regression's loss that has no columns wants whole rows."""
        labels = self._split(labels)
        if self.spec.kind == "regression" and not self._weighs_columns(labels):
            labels.valid = ops.min(labels.columns, axis=-1)
        return labels

    def _losses(self, labels, logits, class_weight):
        """The loss of each example, `(B,)`; of a function of a batch, a scalar."""
        loss = self.loss.loss
        y = (
            labels.given
            if self.loss.labels is None
            else getattr(labels, self.loss.labels)
        )
        if self.standardize is not None:
            y, logits = self.standardize(y), self.standardize(logits)
        y, logits = ops.cast(y, loss.dtype), ops.cast(logits, loss.dtype)
        if not self._weighs_columns(labels):
            return _by_example(ops.cast(loss.call(y, logits), "float32"), loss)
        losses = loss.call(ops.reshape(y, (-1, 1)), ops.reshape(logits, (-1, 1)))
        losses = ops.reshape(ops.cast(losses, "float32"), ops.shape(logits))
        count = ops.maximum(ops.sum(labels.columns, axis=-1), 1.0)
        if class_weight is not None:
            class_weight = ops.convert_to_tensor(class_weight)
            if self.spec.kind == "multi_label":  # of positives
                class_weight = 1.0 + (class_weight - 1.0) * labels.rows
            losses = losses * class_weight
        return ops.sum(losses * labels.columns, axis=-1) / count

    def _divisor(self, count, weights):
        """Of the weighted sum of losses."""
        reduction = self.loss.loss.reduction
        if reduction == "sum" and not self.loss_is_scalar:
            return 1.0
        if reduction == "mean_with_sample_weight":
            return ops.where(weights == 0, ops.ones_like(weights), weights)
        return ops.maximum(count, 1.0)


def build_objectives(specs, loss, loss_weights, metrics, weighted_metrics):
    """One `TaskObjective` a task from the arguments of `compile`.

    Args:
        specs: list of `TaskSpec`, whose `Kind` has the defaults.
        loss, loss_weights: one for all tasks, a dict by task name, or a list with
            one for each task.
        metrics, weighted_metrics: a list for all tasks, a dict by task name, or a
            list of lists; strings, functions or `Metric` objects.

    Returns:
        A dict from task name to `TaskObjective`.

    Raises:
        ValueError: if an argument is not as above.
    """
    losses = by_task_or_list("loss", loss, specs)
    weights = by_task_or_list("loss_weights", loss_weights, specs)
    metrics = lists_by_task("metrics", metrics, specs)
    weighted_metrics = lists_by_task("weighted_metrics", weighted_metrics, specs)
    objectives = {}
    for spec in specs:
        name, kind = spec.name, kind_of(spec)
        task_loss = losses[name]
        if isinstance(task_loss, str) and task_loss == AUTO:
            task_loss = kind.loss
        task_loss = get_loss(task_loss, spec, kind.link)
        link = kind.link if task_loss is None else task_loss.link
        plain = list(kind.metrics) if metrics[name] == [AUTO] else metrics[name]
        plain = [get_metric(metric, spec, link) for metric in plain]
        weighted = [get_metric(metric, spec, link) for metric in weighted_metrics[name]]
        for metric in weighted:
            if metric.metric.name in [each.metric.name for each in plain]:
                own = metric.metric.name.removeprefix(f"{name}_")
                metric.metric.name = f"{name}_weighted_{own}"
        _require_distinct(name, [each.metric.name for each in plain + weighted])
        objectives[name] = TaskObjective(
            spec,
            task_loss,
            1.0 if weights[name] is None else float(weights[name]),
            link,
            plain,
            weighted,
        )
    return objectives


def _require_distinct(task, names):
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"`metrics` of task '{task}' must have distinct names: a flat list is for "
            "every task, a list of lists or a dict has some for each. Received more "
            f"than once: {repeated}"
        )


def _only_valid(logits, valid):
    """The logits `(B, C)`, zeros in rows whose example has no label."""
    return ops.where(valid[:, None] > 0, logits, ops.zeros_like(logits))


def _column(weight):
    return ops.reshape(ops.cast(weight, "float32"), (-1,))


def _by_example(losses, loss):
    """Losses of a shape `(B, ...)` as `(B,)`."""
    axes = tuple(range(1, len(losses.shape)))
    if not axes:
        return losses
    return (ops.sum if loss.reduction == "sum" else ops.mean)(losses, axis=axes)
