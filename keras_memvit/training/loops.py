"""`fit`, `evaluate` and `predict` of models with several tasks."""

import keras

from keras_memvit.training.batch_calls import TaskBatchCalls
from keras_memvit.training.data_length import num_batches
from keras_memvit.training.divergence import TaskDivergence
from keras_memvit.training.fit_callbacks import EpochOfData
from keras_memvit.training.fit_callbacks import LabelCheck
from keras_memvit.training.fit_callbacks import LogsOfEpoch
from keras_memvit.training.fit_schedule import ScheduleOverFit
from keras_memvit.training.jax_state import TrainerOfBackend
from keras_memvit.training.jax_state import run_of
from keras_memvit.training.store_inputs import is_store
from keras_memvit.training.store_inputs import refuse_labels
from keras_memvit.training.store_inputs import store_batches
from keras_memvit.training.tensorflow_trainer import TensorFlowTrainer
from keras_memvit.training.threads import alone
from keras_memvit.training.threads import missing_gradients_ignored


class TaskLoops(TaskBatchCalls, TensorFlowTrainer, TrainerOfBackend):
    """Keras' loops, with Keras' arguments; labels are dicts by task name.

    A mixin in front of `keras.Model`, the upper part of `TaskTrainer`.
    """

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Trains the tasks; arguments as `keras.Model.fit` has them.

        While it runs, callbacks and other threads may predict with this model
        and with all that share its backbone, and save its tasks: they find the
        values that the last finished step left.

        Args:
            x: images `(B, H, W, 3)` in [0, 255], or a data set that yields
                `(images, labels)` or `(images, labels, sample_weight)`:
                `keras.utils.PyDataset`, `tf.data.Dataset`, torch `DataLoader`,
                generator. Or a `StateStore`.
            y: labels, where `x` is an array: a dict by task name, or an array
                where one task is trained; -1 or a missing key is "no label", of a
                regression NaN. The first `fit` of a regression takes its targets'
                mean and scale from them; see `standardize_targets`.
            batch_size: int, for arrays. Defaults to `32`.
            epochs: int. The epoch to end before, counted from 0.
            verbose: `"auto"`, 0 (silent), 1 (a bar) or 2 (a line an epoch).
            callbacks: list of `keras.callbacks.Callback`.
            validation_split: float. The last share of the arrays, which is
                evaluated at the end of an epoch instead of trained on.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a data set,
                evaluated at the end of an epoch. Or a `StateStore`.
            shuffle: bool. Whether arrays are put in a new order each epoch.
            class_weight: a dict by task name, `{task: {class: weight}}`, or
                `{class: weight}` where one task is trained; of a multi-label task
                the weights of each column's positives.
            sample_weight: weight of each example, an array or a dict of arrays
                by task name.
            initial_epoch: int. The epoch to begin with.
            steps_per_epoch: optional int. Batches an epoch.
            validation_steps: optional int. Batches of `validation_data`.
            validation_batch_size: int. Defaults to `batch_size`.
            validation_freq: int. Epochs from one validation to the next.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: if the model is not compiled, or labels or weights do
                not belong to its tasks.
            RuntimeError: if another thread trains or evaluates this model.
        """
        self._require_compiled(training=True)
        with (
            alone(self, "fit"),
            run_of(self),
            missing_gradients_ignored,
            self._weighing_classes(class_weight),
        ):
            self._look_at_scale(x)
            for data in (x, validation_data):
                _tell_kinds(data, self.specs)
            self._standardize_by(x, y)
            if is_store(validation_data):
                size = validation_batch_size or batch_size
                validation_data = store_batches(validation_data, self, size)
                validation_batch_size = None
            if is_store(x):
                refuse_labels(y)
                x, batch_size = store_batches(x, self, batch_size, shuffle), None
            y = self._check_labels(y)
            if isinstance(validation_data, tuple):
                self._check_labels(*validation_data[1:2])
            steps = steps_per_epoch or num_batches(
                x, batch_size or 32, validation_split
            )
            schedule = ScheduleOverFit(steps, initial_epoch, epochs)
            schedule.span(self, initial_epoch)
            if not isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks = [
                    LogsOfEpoch(),
                    *_flatten(callbacks),
                    schedule,
                    LabelCheck(),
                ]
                if not any(isinstance(c, TaskDivergence) for c in callbacks):
                    callbacks.append(TaskDivergence())
                if hasattr(x, "set_epoch"):  # it has an order of its own each epoch
                    callbacks.append(EpochOfData(x))
                    shuffle = False
            vars(self)["_initial_epoch"] = None  # of a run that was restored before
            history = super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                shuffle=shuffle,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
                validation_batch_size=validation_batch_size,
                validation_freq=validation_freq,
            )
            self.raise_label_errors()
        return history

    def make_train_function(self, force=False):
        """A compiled step trains what it was traced for, on TensorFlow for ever."""
        trained = [id(variable) for variable in self.trainable_variables]
        changed = trained != vars(self).get("_traced_for")
        vars(self)["_traced_for"] = trained
        super().make_train_function(force=force or changed)

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """Loss and metrics; arguments as `keras.Model.evaluate` has them.

        In a callback in the middle of an epoch it starts the metrics of that
        epoch anew, as with any Keras model.

        Args:
            x: images or a data set, as in `fit`. Or a `StateStore`.
            y: labels, as in `fit`.
            batch_size: int, for arrays. Defaults to `32`.
            verbose: `"auto"`, 0, 1 or 2, as in `fit`.
            sample_weight: weight of each example, as in `fit`.
            steps: optional int. Batches to evaluate.
            callbacks: list of `keras.callbacks.Callback`.
            return_dict: bool. Whether the values come as a dict by name, not as
                a list. Defaults to `False`.
            **kwargs: what Keras' own loops pass.

        Returns:
            The loss and the metrics, a dict or a list.

        Raises:
            ValueError: if the model is not compiled, or labels do not belong to
                its tasks or are out of range.
            RuntimeError: if another thread trains or evaluates this model.
        """
        self._require_compiled()
        with alone(self, "evaluate"), run_of(self):
            self.raise_label_errors()  # of the epoch, whose metrics end here
            self._look_at_scale(x)
            _tell_kinds(x, self.specs)
            if is_store(x):
                refuse_labels(y)
                x, batch_size = store_batches(x, self, batch_size), None
            result = super().evaluate(
                x,
                self._check_labels(y),
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )
            self.raise_label_errors()
            self.warn_of_scaled_images()
        return result

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Logits by task name; arguments as `keras.Model.predict` has them.

        Any number of threads may predict with one model, also while one trains.

        Args:
            x: images `(B, H, W, 3)` in [0, 255], or a data set of them, as in
                `fit`. Or a `StateStore`.
            batch_size: int, for arrays. Defaults to `32`.
            verbose: `"auto"`, 0, 1 or 2, as in `fit`.
            steps: optional int. Batches to predict.
            callbacks: list of `keras.callbacks.Callback`.

        Returns:
            A dict from task name to an array `(B, num_classes)`, and `"base"`
            where the model has a classifier.
        """
        with run_of(self):
            self._look_at_scale(x)
            self._look_at_next_batch()
            if is_store(x):
                x, batch_size = store_batches(x, self, batch_size), None
            return super().predict(
                x,
                batch_size=batch_size,
                verbose=verbose,
                steps=steps,
                callbacks=callbacks,
            )


def _tell_kinds(data, specs):
    """What a mixture of data sets writes for "no label" depends on the task."""
    if hasattr(data, "set_kinds"):
        data.set_kinds({spec.name: spec.kind for spec in specs})


def _flatten(callbacks):
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
