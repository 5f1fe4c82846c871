"""Readouts that others write, and what they are told where these cannot work."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import readouts
from keras_memvit.models.memory_vit import MemoryViT


def build(*specs):
    model = keras_memvit.build(make_backbone(), list(specs))
    for i, weights in enumerate(model.task_layers.values()):
        randomize(weights, i)
    return model


def task(name, readout):
    return TaskSpec(name, 3, 2, readout=readout)


@readouts.register
@dataclasses.dataclass(frozen=True)
class SomeLayers(readouts.Readout):
    """The class of arguments that JSON gives back as lists."""

    name = "some_layers"
    layers: tuple = (0, 1)

    def num_features(self, backbone):
        return backbone.hidden_dim

    def start(self, tasks, backbone, batch):
        return ()

    def step(self, tasks, layer, block, base, state):
        mean = keras.ops.mean(base.normed, axis=1)
        return (*state, mean) if layer in self.layers else state

    def features(self, tasks, backbone, state):
        return [sum(state)] * len(tasks)


def test_a_readout_with_a_tuple_loads_as_it_was(images, tmp_path):
    model = build(task("a", SomeLayers((1,))), task("b", SomeLayers()))
    keras_memvit.save_task(model, "a", tmp_path / "a.safetensors")
    loaded = keras_memvit.load_task(model.backbone, tmp_path / "a.safetensors")
    assert loaded.specs[0].readout == SomeLayers((1,))
    expected = model.predict(images, verbose=0)["a"]
    found = loaded.predict(images, verbose=0)["a"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def make_class(name="other", decorate=lambda cls: cls, **body):
    return decorate(type("Other", (readouts.Readout,), {"name": name, **body}))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: readouts.Side(10, num_heads=4), "multiple of `num_heads`.*rank=10"),
        (lambda: readouts.Side(rank=0), "`rank` of the readout 'side'.*rank=0"),
        (lambda: readouts.Side(num_heads=2.0), "`num_heads`.*num_heads=2.0"),
        (lambda: readouts.Deep(0), "num_query_tokens=0"),
        (lambda: task("a", "wide"), "'class_token', 'deep'.*'side'.*'wide'"),
        (lambda: task("a", {"name": "side", "width": 3}), "'side'.*'width'"),
        (lambda: task("a", readouts.Readout()), "registered class"),
        (
            lambda: readouts.register(type("Other", (readouts.Readout,), {})),
            "`name` of the readout Other must be a string",
        ),
        (
            lambda: readouts.register(make_class("side")),
            "must not be taken.*'side', which is Side's",
        ),
        (lambda: readouts.register(int), "a subclass of.*Received: <class 'int'>"),
        (
            lambda: readouts.register(make_class(__init__=lambda self, factor=1: None)),
            "Other must be a dataclass.frozen=True",
        ),
        (
            lambda: readouts.register(make_class(decorate=dataclasses.dataclass)),
            "Other must be a dataclass.frozen=True",
        ),
        (
            lambda: build(
                task(
                    "a",
                    readouts.register(
                        make_class(
                            "clash",
                            parameters=lambda *_: {"memory_key": None},
                        )
                    )(),
                ),
            ),
            r"readout 'clash' must not be named.*\['memory_key'\]",
        ),
        (
            lambda: build(
                task(
                    "a",
                    readouts.register(
                        make_class(
                            "too_wide",
                            num_features=lambda *_: 4,
                            step=lambda *args: args[4].normed[:, 0],
                            features=lambda *args: [args[3]],
                        )
                    )(),
                ),
            )(np.zeros((2, 32, 48, 3), "float32")),
            r"readout 'too_wide' must give 1 tensors of the shape \(None, 4\).*32",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_side_readout_needs_a_grid():
    backbone = make_backbone()
    backbone.patch_embedding.grid_shape = (2, 2)
    with pytest.raises(ValueError, match="patches form a grid.*6 patches.*(2, 2)"):
        MemoryViT(backbone, [task("a", "side")])


@pytest.mark.backend_free  # torch trains it; other backends refuse such a branch
def test_one_that_branches_on_tensors_is_exported(tmp_path):
    from branching import ScaledPatch

    model = build(task("a", ScaledPatch()))
    path = keras_memvit.export_saved_model(model, tmp_path / "1", warmup=False)
    card = json.loads((path / "assets.extra/keras_memvit.json").read_text())
    assert card["largest_difference"]["a"] < 1e-4
    keras_memvit.export_onnx(model, tmp_path / "model.onnx")  # compares, too
