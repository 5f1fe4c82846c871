"""Which task's loss is no number any more, and since which step."""

import warnings

import keras
import numpy as np

CHECKED_EVERY = 50  # steps: each check waits for the accelerator


class TaskDivergence(keras.callbacks.Callback):
    """Says when a task's loss has become infinite or no number; `fit` runs it.

    A task that diverges disturbs no other: these go on. The running losses of an epoch
    stay what they are once one step's was no number, so now and then the last one is
    looked at, and the steps before it only if it is not finite.

    Attributes:
        diverged: dict from task name to `(epoch, step)`, both from 0, where its loss
            was not finite first.
    """

    def __init__(self):
        super().__init__()
        self.diverged = {}

    def on_train_begin(self, logs=None):
        self.diverged = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.pending = []  # (step, logs) since the last look

    def on_train_batch_end(self, batch, logs=None):
        if logs:
            self.pending.append((batch, dict(logs)))
        if len(self.pending) >= CHECKED_EVERY:
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()

    def say(self, task, epoch, step, value):
        """Tells the user; called once a task."""
        warnings.warn(
            f"The loss of task '{task}' is {value} since step {step + 1} of epoch "
            f"{epoch + 1}: a smaller learning rate may help, or an example is no "
            "number. Other tasks go on as before",
            stacklevel=2,
        )

    def _look(self):
        pending, self.pending = self.pending, []
        if not pending:
            return
        names = [name for name in self.model.trained_tasks if name not in self.diverged]
        for task in names:
            if np.isfinite(self._loss(task, pending[-1][1])):
                continue
            step, value = next(
                (step, value)
                for step, logs in pending
                if not np.isfinite(value := self._loss(task, logs))
            )
            self.diverged[task] = (self.epoch, step)
            self.say(task, self.epoch, step, value)

    def _loss(self, task, logs):
        alone = len(self.model.specs) == 1
        value = logs.get("loss" if alone else f"{task}_loss", 0.0)
        return float(keras.ops.convert_to_numpy(value))
