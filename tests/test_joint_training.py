"""Several tasks in one `fit`: each as if it were trained alone."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot
from conftest import start_tasks

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.recipes import paper_optimizer
from keras_memvit.training.step_plan import planned

ROWS = np.arange(8)
LABELS = {"a": ROWS % 3, "b": ROWS % 2}
TASKS = {"a": 3, "b": 2}

OPTIMIZERS = {
    "paper": paper_optimizer,
    "adamw": lambda: keras.optimizers.AdamW(
        0.01, weight_decay=0.1, global_clipnorm=0.1
    ),
    "ema": lambda: keras.optimizers.SGD(
        0.1, momentum=0.9, use_ema=True, ema_overwrite_frequency=2
    ),
    "accumulating": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
}


class Batches(keras.utils.PyDataset):
    """Batches as they are."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def only(labels, task):
    """The labels of one task; those of the others are -1."""
    return {
        name: y if name == task else np.full_like(y, -1) for name, y in labels.items()
    }


def assert_same_task(model, other, name, **tolerance):
    expected = snapshot(other.task_layers[name].weights)
    for path, value in snapshot(model.task_layers[name].weights).items():
        np.testing.assert_allclose(value, expected[path], **tolerance)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_joint_training_equals_training_each_alone(optimizer, images):
    """One labels every example, the other every second batch, some in part."""
    partly = np.where(ROWS < 3, LABELS["b"], -1)
    batches = [
        (images, {"a": LABELS["a"], "b": LABELS["b"]}),
        (images[::-1], only(LABELS, "a")),
        (images, {"a": LABELS["a"], "b": partly}),
        (images[::-1], only(LABELS, "a")),
    ]
    joint = start_tasks(TASKS, OPTIMIZERS[optimizer]())
    joint.fit(Batches(batches), epochs=2, shuffle=False, verbose=0)
    for name in TASKS:
        alone = start_tasks({name: TASKS[name]}, OPTIMIZERS[optimizer]())
        own = [(x, {name: y[name]}) for x, y in batches]
        alone.fit(Batches(own), epochs=2, shuffle=False, verbose=0)
        assert_same_task(joint, alone, name, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("labels", ["absent", "missing key"])
def test_a_batch_without_labels_changes_neither_variables_nor_momentum(labels, images):
    model = start_tasks(TASKS)
    model.fit(images, LABELS, epochs=2, verbose=0)  # momentum is under way
    slots = model.optimizer.inner["b"].variables
    before = snapshot([*model.task_layers["b"].weights, *slots])
    moved = snapshot(model.task_layers["a"].weights)
    y = {"a": LABELS["a"]} if labels == "missing key" else only(LABELS, "a")
    model.fit(images, y, epochs=2, verbose=0)
    for path, value in snapshot([*model.task_layers["b"].weights, *slots]).items():
        np.testing.assert_array_equal(value, before[path])
    for path, value in snapshot(model.task_layers["a"].weights).items():
        assert not np.array_equal(value, moved[path])


@pytest.mark.parametrize("train_seen", [False, True])
def test_a_task_that_is_seen_is_trained_only_where_asked(train_seen, images):
    """`b` sees `a`: attended to, and not trained by `b`'s labels unless asked."""
    tasks = [TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"])]
    model = start_tasks(tasks, train_seen=train_seen)
    before = snapshot(model.trainable_variables)
    model.fit(images, {"b": LABELS["b"]}, verbose=0)
    after = snapshot(model.trainable_variables)
    seen = [model.task_layers["a"].class_token, model.task_layers["a"].memory.memory]
    for path in (variable.path for variable in seen):
        assert np.array_equal(after[path], before[path]) != train_seen
    for variable in model.task_layers["b"].weights:
        assert not np.array_equal(after[variable.path], before[variable.path])


def test_seeing_a_task_changes_nothing_of_how_it_is_trained(images):
    """Beside a task that sees it, `a` ends where it would alone."""
    joint = start_tasks([TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"])])
    joint.fit(images, LABELS, epochs=3, shuffle=False, verbose=0)
    alone = start_tasks({"a": 3})
    alone.fit(images, {"a": LABELS["a"]}, epochs=3, shuffle=False, verbose=0)
    assert_same_task(joint, alone, "a", atol=1e-5, rtol=1e-4)


def test_an_image_that_is_not_finite_harms_no_task_without_a_label_for_it(images):
    broken = images.astype("float32")
    broken[3, 0, 0, 0], broken[5] = np.nan, np.inf
    unlabelled = np.isin(ROWS, (3, 5))
    labels = {name: np.where(unlabelled, -1, y) for name, y in LABELS.items()}
    expected, model = start_tasks(TASKS), start_tasks(TASKS)
    history = model.fit(broken, labels, epochs=2, shuffle=False, verbose=0).history
    expected.fit(images, labels, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history["loss"]).all()
    for name in TASKS:
        assert_same_task(model, expected, name, atol=1e-5, rtol=1e-4)
    labels["a"] = LABELS[
        "a"
    ]  # now `a` has a label for it: its loss says so, `b` goes on
    with pytest.warns(UserWarning, match="task 'a' is nan since step 1 of epoch 1"):
        history = model.fit(broken, labels, shuffle=False, verbose=0).history
    assert np.isnan(history["a_loss"]).all() and np.isfinite(history["b_loss"]).all()
    for value in snapshot(model.task_layers["b"].weights).values():
        assert np.isfinite(value).all()


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("float32", "bfloat16"),
        ("mixed_bfloat16", "int8"),
        ("mixed_float16", "float32"),
        ("mixed_float16", "bfloat16"),
    ],
)
def test_stored_states_that_are_not_finite_harm_no_other_image(dtype, stored):
    """float16 ends at 65504: what it cannot hold is not finite there."""
    backbone = make_backbone(num_layers=1, dtype=dtype)
    states = np.random.default_rng(0).normal(size=(8, *backbone.state_shape))
    states = states.astype("float32")
    scale = np.abs(states).max(axis=-1, keepdims=True) / 127
    numbers = np.rint(states / scale).astype("int8")
    too_large = 1e5 if dtype == "mixed_float16" else np.inf
    states[3, 0, 2, 5] = scale[3, 0, 2] = too_large
    if stored == "bfloat16":
        states = (states.view("uint32") >> 16).astype("uint16").view("int16")
    if stored == "int8":
        states = np.concatenate([numbers, scale.view("int8")], axis=-1)
    model = keras_memvit.build(backbone, TASKS)
    model.compile(keras.optimizers.SGD(0.1), auto_scale_loss=False)
    labels = {name: np.where(ROWS == 3, -1, y) for name, y in LABELS.items()}
    before = snapshot(model.trainable_variables)
    loss = model.train_on_batch({"states": states}, labels)
    assert np.isfinite(loss).all()
    for path, value in snapshot(model.trainable_variables).items():
        assert np.isfinite(value).all() and not np.array_equal(value, before[path])


def test_tasks_without_labels_are_not_computed(images):
    """What a step computes for other tasks is zeros, and so not work."""
    model = start_tasks(
        [TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"]), TaskSpec("c", 4)]
    )
    full = {k: keras.ops.convert_to_numpy(v) for k, v in model(images).items()}
    with planned(model.encoder, ["b"]):
        part = {k: keras.ops.convert_to_numpy(v) for k, v in model(images).items()}
    np.testing.assert_allclose(part["a"], full["a"], atol=1e-5)
    np.testing.assert_allclose(part["b"], full["b"], atol=1e-5)
    np.testing.assert_array_equal(part["c"], np.zeros((8, 4)))
    assert all(np.any(value) for value in full.values())


def test_a_task_that_is_set_free_after_a_fit_asks_for_compile(images):
    model = start_tasks(TASKS)
    model.task_layers["a"].trainable = False
    model.compile()
    model.fit(images, LABELS, verbose=0)
    model.task_layers["a"].trainable = True
    with pytest.raises((ValueError, RuntimeError), match="compile"):
        model.fit(images, LABELS, verbose=0)


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_a_task_that_is_frozen_after_a_step_stays_as_it_is(method, images):
    model = start_tasks(TASKS, keras.optimizers.SGD(0.1))
    train = getattr(model, method)
    train(images, LABELS)
    model.task_layers["a"].trainable = False
    before = snapshot(model.task_layers["a"].weights + model.task_layers["b"].weights)
    if keras.backend.backend() == "jax":  # whose steps are of certain variables
        with pytest.raises(ValueError, match="call `compile"):
            train(images, LABELS)
        return
    train(images, LABELS)
    for path, value in snapshot(model.task_layers["a"].weights).items():
        np.testing.assert_array_equal(value, before[path])
    for path, value in snapshot(model.task_layers["b"].trainable_weights).items():
        assert np.any(value != before[path])


def test_the_users_optimizer_decides_rate_and_decay(images, tmp_path):
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = start_tasks(TASKS, optimizer)
    assert model.optimizer.inner_optimizer is optimizer
    model.fit(images, LABELS, epochs=2, verbose=0)
    assert int(optimizer.iterations) == 2
    excluded = model.optimizer.inner["a"]
    variables = model.task_layers["a"].variables_by_name
    bias, kernel = variables["head/bias"], variables["head/kernel"]
    assert not excluded._use_weight_decay(bias)
    assert excluded._use_weight_decay(kernel)
    optimizer.learning_rate = 0.0  # as a callback would
    before = snapshot(model.trainable_variables)
    model.fit(images, LABELS, verbose=0)
    for path, value in snapshot(model.trainable_variables).items():
        np.testing.assert_array_equal(value, before[path])
