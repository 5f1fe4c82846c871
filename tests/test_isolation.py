"""Nothing new can be seen by anything old."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot

import keras_memvit
from keras_memvit import TaskSpec

SPECS = [
    TaskSpec("a", 3, 2),
    TaskSpec("b", 2, 3, readout="deep", num_query_tokens=2),
    TaskSpec("reader", 4, 1, sees=["a"]),
]


@pytest.fixture
def model():
    model = keras_memvit.build(make_backbone("registers"), SPECS)
    for seed, task in enumerate(model.task_layers.values()):
        randomize(task, seed + 10)
    return model


def scale(task, factor=100.0):
    for weight in task.weights:
        weight.assign(weight * factor)


@pytest.mark.parametrize(
    "perturbed, changed",
    [("a", {"a", "reader"}), ("b", {"b"}), ("reader", {"reader"})],
)
def test_perturbing_a_task_changes_only_who_sees_it(model, images, perturbed, changed):
    before = model.predict(images, verbose=0)
    scale(model.task_layers[perturbed])
    after = model.predict(images, verbose=0)
    for name in before:
        difference = np.abs(after[name] - before[name]).max()
        assert difference > 1e-2 if name in changed else difference == 0.0, name


def test_each_kind_of_parameter_reaches_its_task(model, images):
    """Class token, memory of every layer and head each change the logits."""
    rng = np.random.default_rng(0)
    for weight in model.task_layers["b"].weights:
        before = model.predict(images, verbose=0)["b"]
        weight.assign(weight + rng.normal(size=weight.shape).astype("float32"))
        after = model.predict(images, verbose=0)["b"]
        assert np.abs(after - before).max() > 1e-4, weight.path


def test_logits_do_not_depend_on_other_tasks_being_there(model, images):
    together = model.predict(images, verbose=0)
    alone = keras_memvit.build(model.backbone, SPECS[1])
    for target, source in zip(
        alone.task_layers["b"].weights, model.task_layers["b"].weights
    ):
        target.assign(keras.ops.convert_to_numpy(source))
    np.testing.assert_allclose(
        alone.predict(images, verbose=0)["b"], together["b"], atol=1e-5
    )


def test_training_moves_every_task_weight_and_no_frozen_one(model, images):
    rng = np.random.default_rng(0)
    labels = {spec.name: rng.integers(0, spec.num_classes, 8) for spec in SPECS}
    frozen = snapshot(model.backbone.weights)
    task = snapshot(model.trainable_variables)
    tokens = model.backbone.predict(images, verbose=0)
    model.compile()
    model.fit(images, labels, batch_size=8, verbose=0)
    for path, value in snapshot(model.backbone.weights).items():
        assert np.array_equal(value, frozen[path]), path
    for path, value in snapshot(model.trainable_variables).items():
        assert not np.array_equal(value, task[path]), path
    assert np.array_equal(model.backbone.predict(images, verbose=0), tokens)


def test_only_task_parameters_are_trainable(model):
    expected = [w.path for task in model.task_layers.values() for w in task.weights]
    assert [w.path for w in model.trainable_variables] == expected
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    assert [w.path for w in model.trainable_variables] == expected


def test_training_mode_is_inference_mode(model, images):
    in_training = model(images, training=True)
    in_inference = model(images, training=False)
    for name in in_inference:
        assert np.array_equal(
            keras.ops.convert_to_numpy(in_training[name]),
            keras.ops.convert_to_numpy(in_inference[name]),
        )
