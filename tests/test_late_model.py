"""Models of loaded tasks are made when first used, and are then as others."""

import random
import threading

import keras
import numpy as np
import pytest
from conftest import EAGER
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.task_weights import TaskWeights
from keras_memvit.models.unmasked_vit import UnmaskedViT

NAMES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of four tasks, of which "d" sees "a", and the folder of their files."""
    folder = tmp_path_factory.mktemp("tasks")
    specs = [TaskSpec(name, 2, 3, sees=["a"] if name == "d" else ()) for name in NAMES]
    model = keras_memvit.build(make_backbone(num_layers=1), specs)
    for i, task in enumerate(model.task_layers.values()):
        randomize(task, i)
    for name in NAMES:
        keras_memvit.save_task(model, name, folder / f"{name}.safetensors")
    return model, folder


def load(model, folder, names):
    for name in names:
        model = keras_memvit.load_task(model, folder / f"{name}.safetensors")
    return model


def first(model):
    return keras_memvit.select(model, "a")


def assert_values(model, expected):
    for name, task in model.task_layers.items():
        for key, array in task.arrays().items():
            np.testing.assert_array_equal(array, expected[name].arrays()[key])


def test_a_chain_makes_only_the_model_that_is_used(saved, images, monkeypatch):
    model, folder = saved
    start = first(model)
    made, build = [], TaskWeights.build
    monkeypatch.setattr(
        TaskWeights, "build", lambda self, *a: made.append(self.name) or build(self, *a)
    )
    state = random.getstate()
    chain = load(start, folder, NAMES[1:])
    assert isinstance(chain, keras_memvit.MemoryViT)
    assert not isinstance(chain, UnmaskedViT)
    assert made == []
    assert [spec.name for spec in chain.specs] == NAMES
    assert made == NAMES
    assert type(chain) is keras_memvit.MemoryViT
    assert random.getstate() == state  # nothing is drawn
    assert_values(chain, model.task_layers)
    logits = chain.predict(images, verbose=0)
    for name, expected in model.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits[name], expected, atol=1e-5)
    assert set(chain.verify_unchanged(images)) == {"base", "a", "b", "c"}


def test_values_are_those_of_the_call(saved):
    """What happens to the model that was loaded onto reaches the new one no more."""
    model, folder = saved
    start = first(model)
    start.task_layers["a"].trainable = False
    before = start.task_layers["a"].arrays()
    chain = load(start, folder, ["b"])
    longer = load(chain, folder, ["c"])
    for task in (start.task_layers["a"], chain.task_layers["b"]):
        for variable in task.weights:
            variable.assign(keras.ops.zeros(variable.shape))
    start.task_layers["a"].trainable = True
    for made in (chain, longer):
        assert made.frozen_tasks == ["a"]
        for key, array in made.task_layers["a"].arrays().items():
            np.testing.assert_array_equal(array, before[key])
    np.testing.assert_array_equal(
        longer.task_layers["b"].arrays()["memory"],
        model.task_layers["b"].arrays()["memory"],
    )


def test_threads_may_meet_at_the_first_use(saved):
    model, folder = saved
    chain = load(first(model), folder, ["b", "c"])
    barrier, found = threading.Barrier(4), []

    def use():
        barrier.wait()
        found.append((id(chain.encoder), len(chain.weights), chain.trained_tasks))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(each == found[0] for each in found)
    assert found[0][2] == ["a", "b", "c"]


def test_a_first_use_inside_a_compiled_call_or_scope_leaves_it_whole(saved, images):
    """Variables are the model's own, and it trains: none was made inside."""
    model, folder = saved
    chain = load(first(model), folder, ["b"])
    inside(chain)(images.astype("float32"))
    chain.compile(optimizer="sgd", run_eagerly=EAGER)
    before = chain.task_layers["b"].arrays()
    labels = {name: np.arange(8) % 2 for name in ("a", "b")}
    chain.fit(images, labels, verbose=0)
    after = chain.task_layers["b"].arrays()
    assert all(np.abs(after[key] - before[key]).max() > 0 for key in before)


def inside(model):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda x: model(x)["b"])
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(lambda x: model(x)["b"])
    import torch

    return torch.inference_mode()(lambda x: model(x)["b"])


def test_what_is_open_around_the_call_holds(saved):
    """A precision that is set for a while is the model's, as it was made at once."""
    model, folder = saved
    start = first(model)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        chain = load(start, folder, ["b"])
    finally:
        keras.config.set_dtype_policy(policy)
    assert chain.dtype_policy.name == "mixed_bfloat16"
    assert load(start, folder, ["b"]).dtype_policy.name == policy.name
    assert_values(chain, model.task_layers)


def test_what_is_set_before_the_first_use_stays(saved, tmp_path):
    model, folder = saved
    chain = load(first(model), folder, ["b"])
    chain.trainable = False
    assert chain.frozen_tasks == ["a", "b"]
    fresh = load(first(model), folder, ["b"])
    keras_memvit.save_task(fresh, "b", tmp_path / "b.safetensors")
    keras_memvit.load_task(first(model), tmp_path / "b.safetensors").save(
        tmp_path / "both.keras"
    )
    assert_values(keras_memvit.load_model(tmp_path / "both.keras"), model.task_layers)
