"""`train_on_batch` and `test_on_batch` of models with several tasks."""

from keras_memvit.training.jax_state import run_of
from keras_memvit.training.threads import alone
from keras_memvit.training.threads import missing_gradients_ignored


class TaskBatchCalls:
    """Keras' calls for one batch; labels are dicts by task name.

    A mixin in front of `keras.Model`, a part of `TaskTrainer`.
    """

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, return_dict=False
    ):
        """One training step; arguments as `keras.Model.train_on_batch` has them.

        Args:
            x: images `(B, H, W, 3)` in [0, 255].
            y: labels, as in `fit`.
            sample_weight: weight of each example, as in `fit`.
            class_weight: as in `fit`; for this step alone.
            return_dict: bool. Whether the values come as a dict by name.

        Returns:
            The loss and the metrics of this batch, a list or a dict.

        Raises:
            ValueError: if the model is not compiled, or labels or weights do
                not belong to its tasks or are out of range.
        """
        self._require_compiled(training=True)
        with (
            alone(self, "train_on_batch"),
            run_of(self),
            missing_gradients_ignored,
            self._weighing_classes(class_weight),
        ):
            self._look_at_scale(x)
            result = super().train_on_batch(
                x,
                self._check_labels(y),
                sample_weight=sample_weight,
                return_dict=return_dict,
            )
            self.raise_label_errors()
        return result

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Loss and metrics of one batch; arguments as in `train_on_batch`."""
        self._require_compiled()
        with alone(self, "test_on_batch"), run_of(self):
            self._look_at_scale(x)
            result = super().test_on_batch(
                x,
                self._check_labels(y),
                sample_weight=sample_weight,
                return_dict=return_dict,
            )
            self.raise_label_errors()
        return result
