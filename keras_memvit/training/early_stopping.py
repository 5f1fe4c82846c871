"""Early stopping for each task of a joint training."""

import keras
import numpy as np


class TaskEarlyStopping(keras.callbacks.Callback):
    """Stops each task when its metric no longer improves.

    A finished task keeps its values while the others go on; training stops
    when all have finished. Where several in one `fit` watch different metrics, a
    task has finished when the first of them says so, which gives it its values.

    Args:
        monitor: str. The metric without the task's name: `"val_loss"`,
            `"val_accuracy"`, `"loss"`. Defaults to `"val_loss"`.
        min_delta: float. The least change that counts as an improvement.
        patience: int. Epochs without improvement before a task is finished.
        mode: `"min"`, `"max"`, or `"auto"`: `"min"` for losses and errors, as
            `"val_mae"`.
        restore_best_weights: bool. Whether each task gets back the values
            of its best epoch. Defaults to `False`.
        verbose: int. 1 = say when a task has finished.

    Attributes:
        finished: dict from task name to the epoch after which it was finished, of
            the tasks that this callback has finished.

    Raises:
        ValueError: if `mode` is none of these, or, in training, `monitor` is no metric
            of every task.

    Example:

    ```python
    stopping = keras_memvit.recipes.TaskEarlyStopping(patience=3)
    model.fit(train, validation_data=val, epochs=50, callbacks=[stopping])
    ```
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        restore_best_weights: bool = False,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ValueError(
                f"`mode` must be 'auto', 'min' or 'max'. Received: mode={mode!r}"
            )
        if mode == "auto":
            words = ("loss", "error", "mae", "mse")
            smaller = any(word in monitor for word in words)
            mode = "min" if smaller else "max"
        self.monitor = monitor
        self.sign = 1.0 if mode == "min" else -1.0
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.verbose = verbose
        self.finished = {}

    def on_train_begin(self, logs=None):
        self.tasks = self.model.trained_tasks
        self.finished = {}
        self.best = dict.fromkeys(self.tasks, np.inf)
        self.best_weights = {}
        self.waited = dict.fromkeys(self.tasks, 0)
        self.begins = True
        self.key = self._state.begin(self.monitor, self.finished)
        self._set_finished()

    def on_epoch_begin(self, epoch, logs=None):
        if self.begins:  # by now callbacks have restored a killed training
            self.begins = False
            self._go_on(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._follow_all(epoch, logs or {})
        if self._state.finished() >= set(self.tasks):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        # Finished ones too: `use_ema` has given them their averages just now.
        for task in self.best_weights:
            self._restore(task)
        self._state.running.pop(self.key, None)
        self._set_finished()

    @property
    def _state(self):
        return self.model.optimizer.stopping

    def _set_finished(self):
        self.model.optimizer.set_finished(self._state.finished())

    def _go_on(self, epoch):
        """Takes up a training that was saved after the epoch before this one."""
        state = self._state
        before = state.followed.get(self.key)
        if before is None or epoch == 0:
            return
        # Saved by a callback that comes before this one, it lacks the last epoch.
        late = before["epoch"] == epoch - 2 and state.logs[0] == epoch - 1
        if before["epoch"] != epoch - 1 and not late:
            return
        for name in ("best", "waited", "finished"):
            own = {k: v for k, v in before[name].items() if k in self.tasks}
            getattr(self, name).update(own)
        weights = state.weights[self.key]
        self.best_weights = {k: v for k, v in weights.items() if k in self.tasks}
        self._set_finished()
        if late and all(self._name(task, state.logs[1]) for task in self.tasks):
            self._follow_all(*state.logs)

    def _follow_all(self, epoch, logs):
        others = self._state.finished(but=self.key)
        for task in self.tasks:
            if task in others:
                self.best_weights.pop(task, None)  # theirs are given back
            elif task not in self.finished:
                self._follow(task, epoch, logs)
        followed = {"epoch": epoch}
        for name in ("best", "waited", "finished"):
            followed[name] = dict(getattr(self, name))
        self._state.followed[self.key] = followed
        self._state.weights[self.key] = self.best_weights

    def _follow(self, task, epoch, logs):
        value = self.sign * self._value(task, logs)
        if value < self.best[task] - self.min_delta:
            self.best[task] = value
            self.waited[task] = 0
            if self.restore_best_weights:
                self.best_weights[task] = [
                    np.array(keras.ops.convert_to_numpy(v)) for v in self._weights(task)
                ]
            return
        self.waited[task] += 1
        if self.waited[task] >= self.patience:
            self.finished[task] = epoch
            self._restore(task)
            self._set_finished()
            if self.verbose:
                print(f"Epoch {epoch + 1}: task '{task}' has finished")

    def _value(self, task, logs):
        name = self._name(task, logs)
        if name is None:
            raise ValueError(
                f"`monitor` must be a metric of every task. Received: "
                f"monitor={self.monitor!r}, but '{self._names(task)[0]}' is not among "
                f"the logs {sorted(logs)}"
            )
        return float(logs[name])

    def _name(self, task, logs):
        return next((name for name in self._names(task) if name in logs), None)

    def _names(self, task):
        prefix = "val_" if self.monitor.startswith("val_") else ""
        metric = self.monitor.removeprefix("val_")
        names = [f"{prefix}{task}_{metric}"]
        if metric == "loss" and len(self.model.specs) == 1:
            names.append(self.monitor)  # an only task's loss has no name of its own
        return names

    def _weights(self, task):
        return self.model.task_layers[task].weights

    def _restore(self, task):
        for variable, value in zip(
            self._weights(task), self.best_weights.get(task, ())
        ):
            variable.assign(value)
