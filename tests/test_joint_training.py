"""Several tasks in one `fit`: each as if it were trained alone."""

import keras
import numpy as np
import pytest
from conftest import snapshot
from conftest import start_tasks

from keras_memvit import TaskSpec
from keras_memvit.recipes import paper_optimizer

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


def test_a_task_that_is_seen_learns_from_those_that_see_it(images):
    model = start_tasks([TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"])])
    before = snapshot(model.task_layers["a"].memory[0].weights)
    model.fit(images, {"b": LABELS["b"]}, verbose=0)
    for path, value in snapshot(model.task_layers["a"].memory[0].weights).items():
        assert not np.array_equal(value, before[path])


def test_tasks_without_labels_are_not_computed(images):
    """What a step computes for other tasks is zeros, and so not work."""
    model = start_tasks(
        [TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"]), TaskSpec("c", 4)]
    )
    full = {k: keras.ops.convert_to_numpy(v) for k, v in model(images).items()}
    with model.encoder.computing_only(["b"]):
        part = {k: keras.ops.convert_to_numpy(v) for k, v in model(images).items()}
    np.testing.assert_allclose(part["a"], full["a"], atol=1e-5)
    np.testing.assert_allclose(part["b"], full["b"], atol=1e-5)
    np.testing.assert_array_equal(part["c"], np.zeros((8, 4)))
    assert all(np.any(value) for value in full.values())


def test_the_users_optimizer_decides_rate_and_decay(images, tmp_path):
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = start_tasks(TASKS, optimizer)
    assert model.optimizer.inner_optimizer is optimizer
    model.fit(images, LABELS, epochs=2, verbose=0)
    assert int(optimizer.iterations) == 2
    excluded = model.optimizer.inner["a"]
    bias, kernel = model.task_layers["a"].head.bias, model.task_layers["a"].head.kernel
    assert not excluded._use_weight_decay(bias)
    assert excluded._use_weight_decay(kernel)
    optimizer.learning_rate = 0.0  # as a callback would
    before = snapshot(model.trainable_variables)
    model.fit(images, LABELS, verbose=0)
    for path, value in snapshot(model.trainable_variables).items():
        np.testing.assert_array_equal(value, before[path])
