"""Mean average precision: how well each answer of yes or no ranks the images."""

import keras
from keras import ops

LARGEST = 16.0  # logits beyond count as this: a probability of 1 - 1e-7
NUM_BINS = 4096


@keras.saving.register_keras_serializable(package="keras_memvit")
class MeanAveragePrecision(keras.metrics.Metric):
    """The mean over columns of `AP = sum_k (R_k - R_(k-1)) P_k`.

    `P_k` and `R_k` are precision and recall where the images with the `k` largest
    logits count as positive. Logits are counted in 4096 bins of 1 / 128, those of one
    bin as equal, so that memory does not grow with the images. Columns without a
    positive are left out; without any it is 0.

    Args:
        name: str.
        dtype: of the result.

    Call arguments:
        y_true: `(B, C)`, positive from 0.5 on.
        y_pred: logits `(B, C)`.
        sample_weight: optional `(B,)` or `(B, C)`.

    Reference:
        - Everingham et al., 2010, The Pascal Visual Object Classes Challenge, 4.2;
          as `sklearn.metrics.average_precision_score` has it

    Example:

    >>> metric = MeanAveragePrecision()
    >>> metric.update_state([[1], [0], [1], [0]], [[3.0], [2.0], [1.0], [0.0]])
    >>> round(float(metric.result()), 4)
    0.8333
    """

    from_logits = True

    def __init__(self, name="mean_average_precision", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._built = False

    def build(self, num_columns):
        """Makes the counts: weights of positives and negatives by bin, `(bins, C)`."""
        shape = (NUM_BINS, num_columns)
        self.positives = self.add_variable(shape, "zeros", name="positives")
        self.negatives = self.add_variable(shape, "zeros", name="negatives")
        self._built = True

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch."""
        logits = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        positive = ops.cast(ops.convert_to_tensor(y_true), "float32") >= 0.5
        if not self._built:
            self.build(logits.shape[-1])
        weight = ops.ones_like(logits)
        if sample_weight is not None:
            given = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            weight = weight * (given[:, None] if len(given.shape) == 1 else given)
        lowest = ops.full_like(logits, -LARGEST)  # where there is no number, too
        logits = ops.where(ops.isnan(logits), lowest, logits)
        logits = ops.clip(logits, -LARGEST, LARGEST)
        columns = logits.shape[-1]
        step = 2 * LARGEST / NUM_BINS
        bins = ops.cast(ops.floor((LARGEST - logits) / step), "int32")  # largest first
        bins = ops.clip(bins, 0, NUM_BINS - 1)
        cells = ops.reshape(bins * columns + ops.arange(columns, dtype="int32"), (-1,))
        for counts, which in (
            (self.positives, positive),
            (self.negatives, ops.logical_not(positive)),
        ):
            values = ops.reshape(weight * ops.cast(which, "float32"), (-1,))
            added = ops.segment_sum(values, cells, num_segments=NUM_BINS * columns)
            counts.assign(counts + ops.reshape(added, (NUM_BINS, columns)))

    def result(self):
        """A scalar from 0 to 1."""
        if not self._built:
            return ops.zeros((), self.dtype)
        positives = ops.convert_to_tensor(self.positives)
        found = ops.cumsum(positives, axis=0)  # (bins, C)
        called = found + ops.cumsum(ops.convert_to_tensor(self.negatives), axis=0)
        precision = found / ops.maximum(called, 1e-12)
        total = found[-1]
        average = ops.sum(precision * positives, axis=0) / ops.maximum(total, 1e-12)
        there = ops.cast(total > 0, average.dtype)
        return ops.sum(average * there) / ops.maximum(ops.sum(there), 1.0)
