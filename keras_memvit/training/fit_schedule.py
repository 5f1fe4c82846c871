"""The recipe's schedule over the steps of a `fit`, also of one that goes on."""

import keras

from keras_memvit.training.schedules import WarmupCosine


class ScheduleOverFit(keras.callbacks.Callback):
    """Lets a `WarmupCosine` without `total_steps` cover one `fit`.

    At the beginning of an epoch the schedule is where this epoch is in `fit`, whatever
    the optimiser's step: that is known when callbacks have restored a killed training.

    Args:
        steps: steps an epoch, or None where that is not known.
        initial_epoch: int, the epoch that `fit` is to begin with.
        epochs: int, the epoch that it ends before.
    """

    def __init__(self, steps, initial_epoch, epochs):
        super().__init__()
        self.steps = steps
        self.initial_epoch = initial_epoch
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        restored = getattr(self.model, "_initial_epoch", None)  # by `BackupAndRestore`
        self.span(self.model, restored or self.initial_epoch)

    def span(self, model, first_epoch):
        """Sets where the schedule is in `first_epoch`."""
        optimizer = getattr(model.optimizer, "base_optimizer", None)
        schedule = getattr(optimizer, "_learning_rate", None)
        if not isinstance(schedule, WarmupCosine):
            return
        model.optimizer.bind_schedule()  # another model may have its optimiser too
        if self.steps is None:
            schedule.span(0, None)
            return
        step = int(optimizer._iterations.numpy())  # batches, also where they add up
        start = step - first_epoch * self.steps
        schedule.span(start, self.steps * self.epochs)
