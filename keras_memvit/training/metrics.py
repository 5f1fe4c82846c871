"""A task's metrics: each gets labels and predictions in the form that it expects."""

import inspect

import keras
import numpy as np
from keras import ops

from keras_memvit.training.kinds import LINKS
from keras_memvit.training.losses import class_of_name
from keras_memvit.training.losses import function_name
from keras_memvit.training.losses import is_of_keras
from keras_memvit.training.losses import on_logits
from keras_memvit.training.mean_average_precision import MeanAveragePrecision

METRICS = keras.metrics
BASES = (METRICS.Metric, METRICS.Mean, METRICS.Sum, METRICS.MeanMetricWrapper)
IDS = (
    METRICS.Accuracy,
    METRICS.SparseCategoricalAccuracy,
    METRICS.SparseTopKCategoricalAccuracy,
    METRICS.SparseCategoricalCrossentropy,
)
# The order of logits is that of probabilities, and hinges are on logits.
LOGITS = (
    METRICS.SparseCategoricalAccuracy,
    METRICS.SparseTopKCategoricalAccuracy,
    METRICS.CategoricalAccuracy,
    METRICS.TopKCategoricalAccuracy,
    METRICS.Hinge,
    METRICS.SquaredHinge,
    METRICS.CategoricalHinge,
)
# Means over columns and examples, of which any may be left out.
ELEMENTWISE = (
    METRICS.BinaryAccuracy,
    METRICS.BinaryCrossentropy,
    METRICS.MeanSquaredError,
    METRICS.MeanAbsoluteError,
    METRICS.RootMeanSquaredError,
)
COUNTS = (
    METRICS.AUC,
    METRICS.Precision,
    METRICS.Recall,
    METRICS.TruePositives,
    METRICS.TrueNegatives,
    METRICS.FalsePositives,
    METRICS.FalseNegatives,
    METRICS.PrecisionAtRecall,
    METRICS.RecallAtPrecision,
    METRICS.SensitivityAtSpecificity,
    METRICS.SpecificityAtSensitivity,
)


BY_COLUMN = (MeanAveragePrecision, METRICS.R2Score)  # take weights (B, C)
OURS = {
    "mean_average_precision": MeanAveragePrecision,
    "f1": lambda name: METRICS.F1Score(average="macro", threshold=0.5, name=name),
}


class TaskMetric:
    """A Keras metric of one task.

    Keras' own metrics get class indices or rows, logits or probabilities, as each
    expects. A metric of the user's gets labels as they are given and logits; with an
    attribute `from_logits` that is `False`, probabilities.

    Args:
        metric: a `keras.metrics.Metric`.
        link: how logits become probabilities, a key of `LINKS`.
    """

    def __init__(self, metric, link):
        self.metric = metric
        self.link = link
        self.is_keras = is_of_keras(metric, BASES)

    def update(self, labels, logits, weight):
        """Adds a batch.

        Args:
            labels: `Labels`.
            logits: `(B, C)`.
            weight: `(B,)`, 0 for examples without a label.
        """
        y, predictions = self._labels(labels), self._predictions(logits)
        if labels.columns is not None and isinstance(self.metric, BY_COLUMN):
            weight = weight[:, None] * labels.columns
        elif labels.columns is not None and not self.is_keras and self.link is None:
            weight = weight * ops.min(labels.columns, axis=-1)  # wants whole rows
        elif labels.columns is not None and self.is_keras:
            y, predictions, weight = self._by_column(
                y, predictions, weight, labels.columns
            )
        self.metric.update_state(y, predictions, sample_weight=weight)

    def build(self, num_classes):
        """Makes variables that Keras would make with the first batch.

        That is in a compiled step, where no backend can.
        """
        if getattr(self.metric, "_built", True) and self.metric.variables:
            return
        logits = np.zeros((1, num_classes), "float32")
        rows = self.is_keras or isinstance(self.metric, BY_COLUMN)
        rows = rows and not isinstance(self.metric, IDS)
        y = logits if rows else np.zeros((1,), "int32")
        self.metric.update_state(y, logits, sample_weight=np.zeros((1,), "float32"))
        self.metric.reset_state()

    def _labels(self, labels):
        if isinstance(self.metric, MeanAveragePrecision):
            return labels.rows
        if not self.is_keras:
            return labels.given
        sparse = getattr(self.metric, "sparse_y_true", False)  # of `IoU`
        sparse = sparse and not isinstance(self.metric, METRICS.BinaryIoU)
        return labels.ids if sparse or isinstance(self.metric, IDS) else labels.rows

    def _predictions(self, logits):
        metric = self.metric
        classes = getattr(metric, "sparse_y_pred", isinstance(metric, METRICS.Accuracy))
        if self.is_keras and classes and not isinstance(metric, METRICS.BinaryIoU):
            return ops.argmax(logits, axis=-1)
        on_logits = getattr(metric, "from_logits", None)
        if on_logits is None:
            on_logits = isinstance(metric, LOGITS) or not self.is_keras
        return logits if on_logits else LINKS[self.link](logits)

    def _by_column(self, y, predictions, weight, columns):
        """Leaves columns without a label out of what a metric counts."""
        if isinstance(self.metric, ELEMENTWISE):
            share = columns / ops.maximum(ops.sum(columns, -1, keepdims=True), 1.0)
            weight = ops.reshape(weight[:, None] * share, (-1,))
            return ops.reshape(y, (-1, 1)), ops.reshape(predictions, (-1, 1)), weight
        if isinstance(self.metric, COUNTS):
            index = getattr(self.metric, "class_id", None)
            weight = weight[:, None] * columns
            return y, predictions, weight if index is None else weight[:, index]
        if len(y.shape) == len(predictions.shape) == 2:
            return y * columns, predictions * columns, weight
        return y, predictions, weight


def get_metric(metric, spec, link):
    """A fresh `TaskMetric` of one task, named `<task>_<metric>`.

    Args:
        metric: a name, a function of `(y_true, y_pred)` or a `Metric`.
        spec: the `TaskSpec`.
        link: how the task's logits become probabilities, a key of `LINKS`.
    """
    task_metric = TaskMetric(_resolve(metric, spec, link), link)
    task_metric.build(spec.num_classes)
    return task_metric


def _resolve(metric, spec, link):
    if isinstance(metric, dict):  # a config
        metric = METRICS.get(metric)
    if isinstance(metric, METRICS.Metric):
        return _renamed(metric, f"{spec.name}_{metric.name}")
    known = isinstance(metric, str)
    name = f"{spec.name}_{metric if known else function_name(metric)}"
    if known and metric.lower() in OURS:
        return OURS[metric.lower()](name=name)
    if known and metric.lower() in ("accuracy", "acc"):
        binary = link == "sigmoid"
        kind = METRICS.BinaryAccuracy if binary else METRICS.SparseCategoricalAccuracy
        return kind(name=name)
    if known and metric.lower() in ("crossentropy", "ce"):
        binary = link == "sigmoid"
        kind = METRICS.BinaryCrossentropy if binary else METRICS.CategoricalCrossentropy
        return on_logits(kind, name=name)
    if known:
        return on_logits(type(METRICS.get(metric)), name=name)
    if isinstance(metric, type) and issubclass(metric, METRICS.Metric):
        return _resolve(metric(), spec, link)
    if getattr(metric, "__module__", "").startswith("keras."):
        kind = class_of_name(metric.__name__, METRICS)
        if kind is not None:
            return on_logits(kind, name=name)
    return METRICS.MeanMetricWrapper(metric, name=name)


def _renamed(metric, name):
    """A copy under another name: the caller's object stays as it is."""
    kind = type(metric)
    parameters = inspect.signature(kind.__init__).parameters
    own = set(parameters) - {"self", "name", "dtype", "args", "kwargs"}
    if own and not own & set(metric.get_config()):
        raise ValueError(
            f"`metrics`: {kind.__name__} must have a `get_config` with its arguments "
            f"{sorted(own)}, since each task has a copy of its own"
        )
    return kind.from_config({**metric.get_config(), "name": name})
