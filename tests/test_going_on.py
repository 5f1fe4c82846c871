"""Schedules, and trainings that go on: after a kill, from weights, by task name."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
from conftest import EAGER
from conftest import make_backbone
from conftest import snapshot
from conftest import start_tasks
from test_early_stopping import Scripted

import keras_memvit
from keras_memvit.recipes import TaskEarlyStopping
from keras_memvit.recipes import WarmupCosine

TASKS = {"a": 3, "b": 2}
LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}


class Killed(Exception):
    """Stands for the end of a process."""


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.last:
            raise Killed


class Steps(keras.callbacks.Callback):
    """What each step moves: the rate of plain SGD, where the gradient is 1."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        bias = self.model.task_layers["a"].variables_by_name["head/bias"]
        value = float(keras.ops.convert_to_numpy(bias)[0])
        self.rates.append((self.value if self.rates else self.start) - value)
        self.value = value

    def on_train_begin(self, logs=None):
        bias = self.model.task_layers["a"].variables_by_name["head/bias"]
        self.start = float(keras.ops.convert_to_numpy(bias)[0])


def descend(optimizer, loss=lambda y, z: z[:, 0], **kwargs):
    """A model whose every gradient is 1 in the head's first bias."""
    return start_tasks({"a": 3}, optimizer, loss=loss, metrics=None, **kwargs)


def fit(model, images, epochs=5, callbacks=(), **kwargs):
    """The rates of two steps an epoch."""
    steps = Steps()
    given = {"batch_size": 4, "epochs": epochs, "verbose": 0, **kwargs}
    with contextlib.suppress(Killed):
        model.fit(images, LABELS["a"], callbacks=[*callbacks, steps], **given)
    return np.array(steps.rates)


def cosine(steps, peak=0.1, warmup=5):
    t = np.arange(steps)
    rates = peak * np.minimum((t + 1) / warmup, 1)
    return (
        rates * (1 + np.cos(np.pi * np.clip((t - warmup) / (steps - warmup), 0, 1))) / 2
    )


def sgd(**kwargs):
    return keras.optimizers.SGD(WarmupCosine(0.1), **kwargs)


# === Schedules ===

OPTIMIZERS = {
    "plain": sgd,
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=4.0),
    "accumulating": lambda: sgd(gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_recipes_rate_decays_whatever_is_around_it(name, images):
    found = fit(descend(OPTIMIZERS[name]()), images)
    expected = cosine(10)
    if name == "accumulating":
        expected[::2] = 0  # the step is made in every second batch
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("how", ["global policy", "build"])
def test_in_float16_the_rate_decays_and_the_loss_is_scaled(how, images):
    policy = keras.config.dtype_policy()
    if how == "global policy":
        keras.config.set_dtype_policy("mixed_float16")
    try:
        dtype = None if how == "global policy" else "mixed_float16"
        backbone = make_backbone(num_layers=1)
        model = keras_memvit.build(backbone, {"a": 3}, dtype=dtype)
        # A gradient of 1/64, which its scale takes to no more than float16 holds.
        model.compile(sgd(), loss=lambda y, z: z[:, 0] / 64, metrics=None)
        found = 64 * fit(model, images)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.encoder.compute_dtype == "float16"
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert float(model.optimizer.scales.of("a")) == 2.0**15
    np.testing.assert_allclose(found, cosine(10), atol=1e-6)


def test_a_second_fit_takes_the_steps_that_the_first_compiled(images):
    traced = []

    def loss(labels, logits):
        traced.append(logits)
        return logits[:, 0]

    model = descend(sgd(), loss=loss)
    fit(model, images, epochs=2)
    step, count = model.train_function, len(traced)
    np.testing.assert_allclose(fit(model, images), cosine(10), atol=1e-6)
    assert model.train_function is step
    if keras.backend.backend() != "torch":  # which compiles nothing
        assert len(traced) == count == 1


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="elsewhere Keras' `fit` has built the optimiser, which asks for `compile`",
)
def test_what_is_thawed_after_a_fit_without_any_task_is_trained(images):
    model = descend(sgd())
    (task,) = model.task_layers.values()
    task.trainable = False
    with warnings.catch_warnings():  # Keras says that nothing is trained
        warnings.simplefilter("ignore")
        fit(model, images, epochs=1)
    task.trainable = True
    before = snapshot(task.weights)
    fit(model, images, epochs=1)
    assert any(
        (value != before[path]).any() for path, value in snapshot(task.weights).items()
    )


def test_a_second_fit_that_was_killed_goes_on_where_it_was(images, tmp_path):
    """Run again in a process that did not do the first `fit`."""
    model = descend(sgd())
    fit(model, images, epochs=1)
    backup = keras.callbacks.BackupAndRestore
    first = fit(model, images, callbacks=[backup(tmp_path / "backup"), Kill(2)])
    again = descend(sgd())
    rest = fit(again, images, callbacks=[backup(tmp_path / "backup")])
    np.testing.assert_allclose(np.append(first[:6], rest), cosine(10), atol=1e-6)
    np.testing.assert_allclose(fit(again, images), cosine(10), atol=1e-6)


def test_weights_and_initial_epoch_go_on_in_the_schedule(images, tmp_path):
    model = descend(sgd())
    first = fit(model, images, callbacks=[Kill(2)])
    model.save_weights(tmp_path / "x.weights.h5")
    again = descend(sgd())
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "x.weights.h5")
    rest = fit(again, images, initial_epoch=3)
    np.testing.assert_allclose(np.append(first[:6], rest), cosine(10), atol=1e-6)
    fresh = fit(descend(sgd()), images, initial_epoch=3)  # of weights alone
    np.testing.assert_allclose(fresh, cosine(10)[6:], atol=1e-6)


def test_the_models_optimizer_can_be_compiled_again(images):
    model = start_tasks({"a": 3})
    model.fit(images, LABELS["a"], verbose=0)
    model.compile(model.optimizer)
    model.fit(images, LABELS["a"], verbose=0)
    assert int(model.optimizer.iterations) == 2


def test_a_model_compiled_without_optimizer_saves_and_loads(images, tmp_path):
    model = start_tasks({"a": 3}, None, run_eagerly=EAGER)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.compiled and loaded.optimizer is None
    found, expected = (
        m.evaluate(images, LABELS["a"], verbose=0) for m in (loaded, model)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="with an optimizer before training"):
        loaded.fit(images, LABELS["a"], verbose=0)


# === Tasks that had stopped ===

# The best of "a" is its second epoch, and with a patience of 2 it stops after the
# fourth; "b" is best in the fifth.
LOSSES = {"a": [3, 2, 2.5, 2.4, 1, 1], "b": [5, 4, 3, 2, 1, 1.5]}


@pytest.mark.parametrize(
    "killed_after, order", [(1, "backup last"), (3, "backup first")]
)
def test_a_restart_keeps_stopped_tasks_and_best_values(
    killed_after, order, images, tmp_path
):
    def train(*callbacks):
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        model = start_tasks(TASKS, optimizer, run_eagerly=EAGER)
        stopping = TaskEarlyStopping(patience=2, restore_best_weights=True)
        callbacks = [Scripted(LOSSES), *callbacks[:1], stopping, *callbacks[1:]]
        if order == "backup last":
            callbacks[1:3] = callbacks[2:0:-1]
        with contextlib.suppress(Killed):
            model.fit(images, LABELS, epochs=6, callbacks=callbacks, verbose=0)
        return model, stopping.finished

    whole, finished = train(keras.callbacks.BackupAndRestore(tmp_path / "whole"))
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    train(backup, Kill(killed_after))
    again, found = train(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    assert found == finished == {"a": 3}
    expected = snapshot(whole.trainable_variables)
    for path, value in snapshot(again.trainable_variables).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-5, atol=1e-6)


# === By task name ===


def test_weights_and_state_find_their_tasks_in_another_order(images, tmp_path):
    tasks = {"a": 3, "b": 3}
    model = start_tasks(tasks, keras.optimizers.Adam(0.01), run_eagerly=EAGER)
    model.fit(images, LABELS, verbose=0)
    model.save_weights(tmp_path / "x.weights.h5")
    other = keras_memvit.build(
        make_backbone(num_layers=1), dict(reversed(tasks.items()))
    )
    other.compile(keras.optimizers.Adam(0.01), run_eagerly=EAGER)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "x.weights.h5")
    expected = model.predict(images, verbose=0)
    for name, logits in other.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits, expected[name], atol=1e-5)
    for each in (model, other):
        each.fit(images, LABELS, verbose=0)
    for name in tasks:
        after = snapshot(model.task_layers[name].weights)
        for path, value in snapshot(other.task_layers[name].weights).items():
            np.testing.assert_allclose(value, after[path], rtol=1e-4, atol=1e-5)


def test_weights_of_tasks_that_a_model_lacks_are_refused(tmp_path):
    start_tasks({"a": 3, "b": 3}).save_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match=r"task 'a', which is none.*\['b', 'c'\]"):
        start_tasks({"b": 3, "c": 3}).load_weights(tmp_path / "x.weights.h5")


def test_a_model_is_copied_by_its_config(images):
    model = start_tasks({"a": 3}, keras.optimizers.Adam(0.01), run_eagerly=EAGER)
    for each in (model, start_tasks({"a": 3})):
        with pytest.raises(ValueError, match=r"select.*\).from_config.*compile_from"):
            keras.models.clone_model(each)
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy.compile_from_config(model.get_compile_config())
    found, expected = (
        each.fit(images, LABELS["a"], epochs=2, verbose=0).history
        for each in (copy, model)
    )
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
