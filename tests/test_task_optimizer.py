"""`TaskOptimizer`: a Keras optimiser around the user's one."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot
from conftest import start_tasks
from test_joint_training import LABELS
from test_joint_training import TASKS
from test_joint_training import assert_same_task
from test_joint_training import only

import keras_memvit
from keras_memvit.training.objectives import build_objectives
from keras_memvit.training.task_optimizer import TaskOptimizer

BAD = {"infinite": np.inf, "not a number": np.nan}


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def sgd(**kwargs):
    return keras.optimizers.SGD(0.1, momentum=0.9, **kwargs)


def scaled(**kwargs):
    return keras.optimizers.LossScaleOptimizer(sgd(), **kwargs)


def spoil(task, value):
    """Sample weights that make one task's loss and gradient `value`."""
    return {k: np.full(8, value if k == task else 1, "float32") for k in TASKS}


# === Tasks that cannot be trained change nothing elsewhere ===


@pytest.mark.parametrize("frequency", [None, 1])
def test_averages_of_a_task_without_labels_are_its_values(frequency, images):
    optimizer = sgd(use_ema=True, ema_overwrite_frequency=frequency)
    model = start_tasks(TASKS, optimizer)
    before = snapshot(model.task_layers["b"].weights)
    model.fit(images, only(LABELS, "a"), epochs=2, verbose=0)
    for path, value in snapshot(model.task_layers["b"].weights).items():
        np.testing.assert_array_equal(value, before[path])
    model.fit(images, only(LABELS, "a"), verbose=0)  # on JAX, no shared buffers
    inner = model.optimizer.inner["b"]
    for average, value in zip(inner._model_variables_moving_average, before.values()):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(average), value)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.filterwarnings("ignore:The loss of task 'b'")
def test_with_loss_scaling_a_task_without_finite_gradients_is_skipped(bad, images):
    model = start_tasks(TASKS, scaled(initial_scale=1024.0, dynamic_growth_steps=3))
    before = snapshot(model.task_layers["b"].weights)
    weights = spoil("b", BAD[bad])
    model.fit(images, LABELS, sample_weight=weights, epochs=4, verbose=0)
    for path, value in snapshot(model.task_layers["b"].weights).items():
        np.testing.assert_array_equal(value, before[path])
    alone = start_tasks({"a": 3}, sgd())
    alone.fit(images, LABELS["a"], epochs=4, verbose=0)
    assert_same_task(model, alone, "a", atol=1e-6, rtol=1e-5)
    scales = model.optimizer.scales
    assert float(scales.of("a")) == 2048.0  # doubled after three steps
    assert float(scales.of("b")) == 1024.0 / 2**4
    steps = {name: int(o.iterations) for name, o in model.optimizer.inner.items()}
    assert steps == {"a": 4, "b": 0}
    assert int(model.optimizer.iterations) == 4


def test_a_scale_that_is_too_high_comes_down_until_the_task_trains(images):
    optimizer = keras.optimizers.LossScaleOptimizer(
        sgd(clipvalue=0.01), initial_scale=2.0**16
    )
    model = start_tasks(TASKS, optimizer, loss_weights={"b": 1e35})
    before = snapshot(model.task_layers["b"].weights)
    history = model.fit(images, LABELS, epochs=8, verbose=0).history
    assert np.isfinite(history["loss"][0])  # as if there were no scale
    np.testing.assert_allclose(
        history["loss"][0],
        history["a_loss"][0] + 1e35 * history["b_loss"][0],
        rtol=1e-4,
    )
    assert float(model.optimizer.scales.of("a")) == 2.0**16
    assert 2.0**8 < float(model.optimizer.scales.of("b")) < 2.0**16
    after = snapshot(model.task_layers["b"].weights)
    assert any((after[path] != before[path]).any() for path in before)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.filterwarnings("ignore:The loss of task 'b'")
def test_without_loss_scaling_a_diverged_task_changes_no_other(bad, images):
    model = start_tasks(TASKS)
    model.fit(images, LABELS, sample_weight=spoil("b", BAD[bad]), epochs=2, verbose=0)
    alone = start_tasks({"a": 3})
    alone.fit(images, LABELS["a"], epochs=2, verbose=0)
    assert_same_task(model, alone, "a", atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("train_seen", [False, True])
def test_tasks_that_train_each_other_share_a_scale(train_seen, images):
    specs = [keras_memvit.TaskSpec("a", 3), keras_memvit.TaskSpec("c", 2)]
    specs.append(keras_memvit.TaskSpec("b", 2, sees=["a"]))
    model = start_tasks(specs, scaled(initial_scale=64.0), train_seen=train_seen)
    plain = start_tasks(specs, sgd(), train_seen=train_seen)
    groups = [["c"], ["a", "b"]] if train_seen else [["a"], ["c"], ["b"]]
    assert model.optimizer.scales.groups == groups
    for each in (model, plain):
        each.fit(images, {**LABELS, "c": LABELS["b"]}, epochs=2, verbose=0)
    for name in "abc":
        assert_same_task(model, plain, name, atol=1e-6, rtol=1e-5)


def gradient(function, x):
    if keras.backend.backend() == "jax":
        import jax

        with keras.StatelessScope():  # for the metrics it updates
            return np.array(jax.grad(function)(x))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = function(x)
        return tape.gradient(loss, x).numpy()
    import torch

    x = torch.tensor(x, requires_grad=True)
    function(x).backward()
    return x.grad.numpy()


@pytest.mark.parametrize("one_hot", [False, True])
def test_logits_of_unlabelled_examples_reach_neither_loss_nor_gradient(one_hot):
    specs = [keras_memvit.TaskSpec("a", 3)]
    loss = ("" if one_hot else "sparse_") + "categorical_crossentropy"
    metrics = [keras.metrics.MeanSquaredError()] if one_hot else ["accuracy"]
    objective = build_objectives(specs, loss, None, metrics, None)["a"]
    labels = np.array([0, -1, 2, -1])
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    if one_hot:
        labels = np.concatenate([np.eye(3), -np.ones((1, 3))])[labels]
    clean = gradient(lambda x: objective.compute_loss(labels, x), logits)
    logits[1], logits[3] = np.nan, [np.inf, 1.0, -np.inf]
    found = gradient(lambda x: objective.compute_loss(labels, x), logits)
    np.testing.assert_array_equal(found, clean)
    assert np.any(found[0]) and not np.any(found[[1, 3]])
    objective.loss_tracker.reset_state()
    objective.compute_loss(labels, logits)
    objective.update_metrics(labels, logits)
    for metric in [objective.loss_tracker, *objective.metrics]:
        assert np.isfinite(float(metric.result()))


# === float16 ===


def test_float16_scales_each_tasks_loss_unless_told_not_to(images):
    models = {}
    for dtype in ("float32", "mixed_float16"):
        model = keras_memvit.build(make_backbone(num_layers=1), TASKS, dtype=dtype)
        for name, layer in model.task_layers.items():
            layer.start(ord(name))
        model.compile(sgd())
        model.fit(images, LABELS, verbose=0)
        models[dtype] = model
    assert models["float32"].optimizer.scales is None
    half = models["mixed_float16"]
    assert float(half.optimizer.scales.of("a")) == 2.0**15
    assert_same_task(half, models["float32"], "a", atol=2e-2, rtol=2e-2)
    half.compile(sgd(), auto_scale_loss=False)
    assert half.optimizer.scales is None
    half.compile(sgd(loss_scale_factor=64.0))
    assert half.optimizer.scales is None


# === As other Keras optimisers ===


def test_the_users_optimizer_is_wrapped_once_and_as_it_is(images):
    optimizer = sgd()
    names = set(vars(optimizer))
    model = start_tasks(TASKS, optimizer)
    assert isinstance(model.optimizer, TaskOptimizer)
    assert model.optimizer.inner_optimizer is optimizer
    model.fit(images, LABELS, verbose=0)
    model.compile(keras.saving.serialize_keras_object(model.optimizer))
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.SGD)
    model.compile(TaskOptimizer(optimizer))
    assert model.optimizer.inner_optimizer is optimizer
    model.fit(images, LABELS, verbose=0)
    assert int(optimizer.iterations) == int(model.optimizer.iterations) == 2
    assert set(vars(optimizer)) == names  # nothing was put on it


def test_config_round_trip():
    optimizer = TaskOptimizer(scaled(initial_scale=8.0, dynamic_growth_steps=5))
    config = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is TaskOptimizer
    assert restored.get_config() == optimizer.get_config()
    assert restored.inner_optimizer.initial_scale == restored.initial_scale == 8.0
    assert restored.dynamic_growth_steps == 5
    assert restored.base_optimizer.momentum == 0.9


@pytest.mark.parametrize("kind", ["scheduler", "plateau", "assigned"])
def test_rates_are_set_as_on_any_optimizer(kind, images):
    model = start_tasks(TASKS, sgd())
    callbacks = {
        "scheduler": [keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)],
        "plateau": [
            keras.callbacks.ReduceLROnPlateau(
                "loss", factor=0.5, patience=1, min_delta=1e9
            )
        ],
        "assigned": [],
    }
    if kind == "assigned":
        model.optimizer.learning_rate = 0.0
    before = snapshot(model.trainable_variables)
    model.fit(images, LABELS, epochs=3, callbacks=callbacks[kind], verbose=0)
    rate = keras.ops.convert_to_numpy(model.optimizer.inner_optimizer.learning_rate)
    np.testing.assert_allclose(rate, 0.025 if kind == "plateau" else 0.0)
    for path, value in snapshot(model.trainable_variables).items():
        assert np.array_equal(value, before[path]) == (kind != "plateau")


def test_averages_can_be_swapped(images):
    model = start_tasks(TASKS, sgd(use_ema=True))
    model.fit(
        images,
        LABELS,
        epochs=2,
        validation_data=(images, LABELS),
        callbacks=[keras.callbacks.SwapEMAWeights()],
        verbose=0,
    )
    assert np.all(np.isfinite(model.predict(images, verbose=0)["a"]))


@pytest.mark.parametrize("optimizer", [sgd, scaled])
def test_saving_restores_the_state_of_every_task(optimizer, images, tmp_path):
    model = start_tasks(TASKS, optimizer())
    model.fit(images, LABELS, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inner = loaded.optimizer.inner_optimizer
    assert type(inner) is type(model.optimizer.inner_optimizer)
    assert inner.get_config() == model.optimizer.inner_optimizer.get_config()
    state = values(model.optimizer.lasting_variables)
    assert any(np.any(value) for value in state)
    found = values(loaded.optimizer.lasting_variables)
    for value, expected in zip(found, state, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: TaskOptimizer("sgd"), "`optimizer` must be.*Received: str"),
        (lambda: TaskOptimizer(TaskOptimizer(sgd())), "Received: TaskOptimizer"),
        (
            lambda: TaskOptimizer(sgd()).build([keras.Variable(1.0, name="x")]),
            r"`variables` must be those of the tasks.*Received also: \['x'\]",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
