"""Tasks that are alike take their steps as one batch on JAX, and as each alone."""

import keras
import numpy as np
import pytest
from conftest import snapshot
from conftest import start_tasks

from keras_memvit import TaskSpec
from keras_memvit.training import task_steps

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="elsewhere every task is alone"
)

TASKS = [TaskSpec(name, 3) for name in "abc"] + [TaskSpec("w", 5)]
LABELS = {"a": [0, 1, 2, 0], "b": [-1] * 4, "c": [2, 1, -1, 0], "w": [4, 3, 2, 1]}
RATES = {
    "a": {"head": 0.3, "memory": 2.0},
    "b": {"head": 0.3, "memory": 2.0},
    "c": {"head": 0.7, "memory": 5.0},
}
OPTIMIZERS = {
    "clipped": lambda: keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.01),
    "global norm": lambda: keras.optimizers.AdamW(0.01, global_clipnorm=0.01),
    "accumulated": lambda: keras.optimizers.Adam(
        0.01, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.5
    ),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.1)),
}


class Own(keras.optimizers.SGD):
    """A user's, who may do anything."""


@pytest.fixture
def batches(monkeypatch):
    """The sizes of the batches that were made."""
    sizes, together = [], task_steps._together

    def spy(group, base):
        sizes.append(len(group))
        together(group, base)

    monkeypatch.setattr(task_steps, "_together", spy)
    return sizes


def trained(model, images):
    """Values of all that a step changes, by path or place."""
    labels = {name: np.array(values * 2) for name, values in LABELS.items()}
    model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return [*snapshot(model.variables).values(), *values_of(model.optimizer)]


def head_of(model, task):
    """The kernel of its head."""
    variables = model.task_layers[task].trainable_variables
    return next(v for v in variables if v.path.endswith("head_kernel"))


def values_of(optimizer):
    return [keras.ops.convert_to_numpy(v) for v in optimizer.variables]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_batch_of_steps_is_each_step(name, images, batches, monkeypatch):
    options = {"learning_rate_multipliers": RATES}
    found = trained(start_tasks(TASKS, OPTIMIZERS[name](), **options), images)
    assert batches == [3]  # traced once; "w" is alone
    monkeypatch.setattr(task_steps, "_kind", lambda step: None)
    expected = trained(start_tasks(TASKS, OPTIMIZERS[name](), **options), images)
    assert batches == [3]
    for ours, alone in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("make", [Own, keras.optimizers.Muon])
def test_what_may_depend_on_the_task_is_in_no_batch(make, images, batches):
    trained(start_tasks(TASKS, make(0.01)), images)
    assert batches == []


def test_a_task_with_a_constraint_is_in_no_batch(images, batches):
    model = start_tasks(TASKS, keras.optimizers.SGD(0.5))
    heads = [head_of(model, name) for name in "ac"]
    heads[0].constraint = keras.constraints.MaxNorm(0.01)
    trained(model, images)
    assert batches == [2]
    norms = [np.linalg.norm(head.numpy(), axis=0).max() for head in heads]
    assert norms[0] < 0.011 and norms[1] > 0.1


def test_a_step_of_some_variables_is_in_no_batch(batches):
    """The optimiser would take the others, and their slots, for its own task's."""
    model = start_tasks(TASKS, keras.optimizers.Adam(0.1, use_ema=True))
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    before = snapshot(optimizer.inner["b"].variables)
    kernels = [head_of(model, name) for name in "ab"]
    optimizer.apply([keras.ops.ones(kernel.shape) for kernel in kernels], kernels)
    assert batches == []
    after = snapshot(optimizer.inner["b"].variables)
    changed = {path for path in before if (before[path] != after[path]).any()}
    assert len(changed) == 4  # step, momentum, velocity and average of its kernel


def test_a_task_whose_weights_decay_otherwise_is_in_no_batch(images, batches):
    model = start_tasks(TASKS)
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(model.task_layers["a"].trainable_variables)
    model.compile(optimizer)
    trained(model, images)
    assert batches == [2]
