"""A task that diverges says so and when, alone; a sweep ranks it last."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import start_tasks

from keras_memvit.recipes import sweep
from keras_memvit.training import divergence

LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}
OPTIONS = {"batch_size": 2, "epochs": 3, "shuffle": False, "verbose": 0}


class Break(keras.callbacks.Callback):
    """Makes a task's head no number before one step."""

    def __init__(self, task, epoch, step):
        super().__init__()
        self.task, self.at, self.step = task, epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (self.at, self.step):
            head = self.model.task_layers[self.task].variables_by_name["head/bias"]
            head.assign(np.full(head.shape, np.nan, "float32"))


def test_the_task_and_the_step_are_named_and_others_go_on(images, monkeypatch):
    monkeypatch.setattr(divergence, "CHECKED_EVERY", 2)
    model, alone = start_tasks({"a": 3, "b": 2}), start_tasks({"b": 2})
    message = "task 'a' is nan since step 3 of epoch 2"
    with pytest.warns(UserWarning, match=message) as said:
        model.fit(images, LABELS, callbacks=[Break("a", 1, 2)], **OPTIONS)
    assert sum("since step" in str(warning.message) for warning in said) == 1
    alone.fit(images, {"b": LABELS["b"]}, **OPTIONS)
    for name, variable in model.task_layers["b"].variables_by_name.items():
        expected = alone.task_layers["b"].variables_by_name[name]
        np.testing.assert_allclose(variable, expected, atol=1e-5, rtol=1e-4)


def test_an_only_task_is_named_too(images):
    model = start_tasks({"a": 3})
    with pytest.warns(UserWarning, match="task 'a' is nan since step 1 of epoch 1"):
        model.fit(images, LABELS["a"], callbacks=[Break("a", 0, 0)], **OPTIONS)


def test_a_sweep_ranks_what_diverged_last(images):
    labels = np.zeros(8, "int64")  # what is no number is class 0 to an argmax
    labels[0] = 1
    data = (images, labels)
    rates = (1e30, 0.01)
    options = {"learning_rates": rates, "num_memory_tokens": (1,), "epochs": 3}
    backbone = make_backbone(num_layers=1)
    result = sweep(backbone, {"a": 2}, data, data, batch_size=4, **options)
    assert [row["learning_rate"] for row in result.table] == [0.01, 1e30]
    diverged = [row["diverged"] for row in result.table]
    assert diverged[0] is None and diverged[1] in (1, 2)
    assert result.best["learning_rate"] == 0.01
    for weight in result.model.task_layers["a"].get_weights():
        assert np.isfinite(weight).all()
    assert str(result).splitlines()[1].split()[-1] == "-"
    options["learning_rates"] = (1e30,)
    with pytest.raises(ValueError, match="Every candidate of `sweep` diverged.*1e.30"):
        sweep(backbone, {"a": 2}, data, data, **options)
