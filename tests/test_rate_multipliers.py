"""Learning rates by task and by group of variables."""

import keras
import numpy as np
import pytest
from conftest import snapshot
from conftest import start_tasks

import keras_memvit

ROWS = np.arange(8)
LABELS = {"a": ROWS % 3, "b": ROWS % 2}
OPTIMIZERS = {
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, global_clipnorm=1.0),
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1),
}
DEEP = [keras_memvit.TaskSpec("a", 3, 2, readout="deep"), keras_memvit.TaskSpec("b", 2)]


def changes(optimizer, images, multipliers=None):
    """How every variable of both tasks moves in one step."""
    model = start_tasks(DEEP, optimizer, learning_rate_multipliers=multipliers)
    before = snapshot(model.trainable_variables)
    model.fit(images, LABELS, batch_size=8, verbose=0)
    after = snapshot(model.trainable_variables)
    paths = {
        (task, group): [variable.path for variable in variables]
        for task, layer in model.task_layers.items()
        for group, variables in layer.parameter_groups.items()
    }
    assert sum(map(len, paths.values())) == len(before)  # no variable left out
    return {
        key: np.concatenate([(after[p] - before[p]).ravel() for p in own])
        for key, own in paths.items()
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_group_moves_at_its_own_rate(name, images):
    plain = changes(OPTIMIZERS[name](0.1), images)
    factors = {"a": {"memory": 0.5, "queries": 4.0, "head": 0.0}, "b": 0.25}
    scaled = changes(OPTIMIZERS[name](0.1), images, factors)
    assert all(np.abs(change).max() > 1e-4 for change in plain.values())
    for (task, group), change in scaled.items():
        factor = factors["a"].get(group, 1.0) if task == "a" else factors["b"]
        expected = factor * plain[task, group]
        np.testing.assert_allclose(change, expected, rtol=1e-3, atol=1e-6)


def test_multipliers_survive_saving(images, tmp_path):
    factors = {"a": {"head": 0.0}}
    model = start_tasks(DEEP, "sgd", learning_rate_multipliers=factors)
    model.fit(images, LABELS, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    task = loaded.task_layers["a"]
    before = snapshot(task.weights)
    loaded.fit(images, LABELS, batch_size=8, verbose=0)
    after = snapshot(task.weights)
    assert (after[task.class_token.path] != before[task.class_token.path]).any()
    for variable in task.parameter_groups["head"]:
        np.testing.assert_array_equal(after[variable.path], before[variable.path])


@pytest.mark.parametrize(
    "factors, message",
    [
        ({"c": 1.0}, r"tasks \['a', 'b'\].*Received: \['c'\]"),
        ({"b": {"queries": 1.0}}, r"groups of task 'b'.*Received: \['queries'\]"),
        ({"a": -1.0}, "at least 0. Received: -1.0"),
        ({"a": {"head": "fast"}}, "at least 0. Received: 'fast'"),
    ],
)
def test_wrong_multipliers_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        start_tasks(DEEP, "sgd", learning_rate_multipliers=factors)


EXACT = {
    "clipped": lambda rate: keras.optimizers.AdamW(
        rate, weight_decay=0.1, global_clipnorm=0.1
    ),
    "nadam": lambda rate: keras.optimizers.Nadam(rate),
    "averaged": lambda rate: keras.optimizers.SGD(
        rate, momentum=0.9, use_ema=True, ema_momentum=0.5
    ),
    "accumulating": lambda rate: keras.optimizers.Adam(
        rate, gradient_accumulation_steps=2
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_groups_are_one_task_to_all_but_the_rate(name, images):
    """Two groups at (nearly) half the rate move as one optimiser at half the rate."""
    weights = []
    for rate, factors in [(0.02, {"a": {"head": 0.5 + 1e-7}}), (0.01, None)]:
        if factors:
            rest = ["class_token", "memory", "queries"]
            factors["a"].update(dict.fromkeys(rest, 0.5))
            factors["b"] = 0.5
        model = start_tasks(DEEP, EXACT[name](rate), learning_rate_multipliers=factors)
        model.fit(images, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0)
        weights.append(snapshot(model.trainable_variables))
    for path, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][path], atol=1e-5, rtol=1e-4)
