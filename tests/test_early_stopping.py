"""`TaskEarlyStopping`: each task ends where it no longer improves."""

import keras
import numpy as np
import pytest
from conftest import snapshot
from conftest import start_tasks

import keras_memvit

TASKS = {"a": 3, "b": 2}
LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}


class Scripted(keras.callbacks.Callback):
    """Puts losses of the test's choosing into the logs."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        for name, values in self.losses.items():
            logs[f"val_{name}_loss"] = values[epoch]
        self.weights.append(
            {k: snapshot(v.weights) for k, v in self.model.task_layers.items()}
        )


def test_a_finished_task_stops_changing_while_others_go_on(images):
    model = start_tasks(TASKS)
    scripted = Scripted({"a": [3, 2, 2.5, 2.4, 1], "b": [5, 4, 3, 2, 1]})
    stopping = keras_memvit.recipes.TaskEarlyStopping(
        patience=2, restore_best_weights=True
    )
    model.fit(images, LABELS, epochs=5, callbacks=[scripted, stopping], verbose=0)
    assert stopping.finished == {"a": 3}
    best = scripted.weights[1]["a"]  # of the second epoch
    for path, value in snapshot(model.task_layers["a"].weights).items():
        np.testing.assert_array_equal(value, best[path])
        np.testing.assert_array_equal(value, scripted.weights[4]["a"][path])
        assert not np.array_equal(value, scripted.weights[3]["a"][path])
    for path, value in snapshot(model.task_layers["b"].weights).items():
        assert not np.array_equal(value, scripted.weights[3]["b"][path])
    model.fit(images, LABELS, verbose=0)  # the next run trains it again
    for path, value in snapshot(model.task_layers["a"].weights).items():
        assert not np.array_equal(value, best[path])


def test_training_stops_when_all_tasks_have_finished(images):
    model = start_tasks(TASKS)
    scripted = Scripted({"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]})
    stopping = keras_memvit.recipes.TaskEarlyStopping()
    history = model.fit(
        images, LABELS, epochs=4, callbacks=[scripted, stopping], verbose=0
    )
    assert len(history.epoch) == 2
    assert stopping.finished == {"a": 1, "b": 1}


def test_an_unknown_metric_to_stop_by_is_named(images):
    model = start_tasks(TASKS)
    stopping = keras_memvit.recipes.TaskEarlyStopping("val_auc")
    with pytest.raises(ValueError, match="'val_a_auc' is not among the logs"):
        model.fit(images, LABELS, callbacks=[stopping], verbose=0)


def test_the_best_values_come_back_beside_averages(images):
    """With `use_ema` Keras gives averages at the end, also to finished tasks."""
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model = start_tasks(TASKS, optimizer)
    scripted = Scripted({"a": [3, 2, 2.5, 2.4, 1], "b": [5, 4, 3, 2, 1]})
    stopping = keras_memvit.recipes.TaskEarlyStopping(
        patience=2, restore_best_weights=True
    )
    model.fit(images, LABELS, epochs=5, callbacks=[scripted, stopping], verbose=0)
    assert stopping.finished == {"a": 3}
    best = scripted.weights[1]["a"]
    for path, value in snapshot(model.task_layers["a"].weights).items():
        np.testing.assert_array_equal(value, best[path])


class ScriptedMetrics(Scripted):
    """Logs under whole names."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        logs.update({k: v[epoch] for k, v in self.metrics.items()})


def two_that_stop(**options):
    """By losses "a" is finished after epoch 2, by scores "b" after epoch 3."""
    scripted = ScriptedMetrics({"a": [3, 2, 9, 9, 9, 9], "b": [6, 5, 4, 3, 2, 1]})
    scripted.metrics = {
        "val_a_score": [1, 2, 3, 4, 5, 6],
        "val_b_score": [1, 2, 3, 0, 0, 0],
    }
    stop = keras_memvit.recipes.TaskEarlyStopping
    by_loss, by_score = stop(patience=1, **options), stop("val_score", patience=1)
    return scripted, by_loss, by_score


@pytest.mark.parametrize("turned", [False, True])
def test_two_may_stop_tasks_by_different_metrics(turned, images):
    model = start_tasks(TASKS)
    scripted, by_loss, by_score = two_that_stop(restore_best_weights=True)
    both = [by_score, by_loss] if turned else [by_loss, by_score]
    history = model.fit(
        images, LABELS, epochs=6, callbacks=[scripted, *both], verbose=0
    )
    assert (by_loss.finished, by_score.finished) == ({"a": 2}, {"b": 3})
    assert len(history.epoch) == 4  # both have finished
    for path, value in snapshot(model.task_layers["a"].weights).items():
        np.testing.assert_array_equal(value, scripted.weights[1]["a"][path])
        np.testing.assert_array_equal(value, scripted.weights[3]["a"][path])


BACKUPS = {
    "Keras": lambda path: keras.callbacks.BackupAndRestore(
        path, delete_checkpoint=False
    ),
    "ours": lambda path: keras_memvit.recipes.resume(path / "run", keep=True),
}


@pytest.mark.parametrize("whose", BACKUPS)
def test_two_go_on_where_both_stood(whose, images, tmp_path):
    for epochs in (3, 6):  # ended, and taken up
        model = start_tasks(TASKS)
        scripted, by_loss, by_score = two_that_stop(restore_best_weights=True)
        backup = BACKUPS[whose](tmp_path)
        callbacks = [scripted, by_loss, by_score, backup]
        history = model.fit(
            images, LABELS, epochs=epochs, callbacks=callbacks, verbose=0
        )
    assert history.epoch == [3]
    assert (by_loss.finished, by_score.finished) == ({"a": 2}, {"b": 3})
