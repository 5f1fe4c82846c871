"""What torch refuses on an accelerator and lets pass on a CPU, looked for on a CPU."""

import sys

import keras
import numpy as np
import pytest
from conftest import VARIANTS
from conftest import make_backbone

import keras_memvit
from keras_memvit import TaskSpec

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="is about torch's tensors alone"
)
READOUTS = ("class_token", "deep", "side", "synthesised")
ADAPTERS = ("ia3", "lora", "grouped", "bottleneck")


@pytest.fixture
def strict(monkeypatch):
    """NumPy may not read a tensor by itself, as it may not where that is on a GPU.

    `tensor * array` asks NumPy, which reads the tensor; Keras' own
    `convert_to_numpy` copies it from the device before.
    """
    import torch

    original = torch.Tensor.__array__

    def read(tensor, *args, **kwargs):
        caller = sys._getframe(1).f_code
        if "convert_to_numpy" not in caller.co_qualname and "keras_memvit" in (
            caller.co_filename
        ):
            raise TypeError("can't convert a device's tensor to numpy")
        return original(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "__array__", read)


def test_numpy_reading_a_tensor_is_seen(strict):
    with pytest.raises(TypeError, match="can't convert"):
        exec(
            compile("x * y", "keras_memvit/here.py", "eval"),
            {"x": keras.ops.ones((2, 3)), "y": np.ones(3, "float32")},
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_backbone(strict, variant, images):
    make_backbone(variant).predict(images, verbose=0)


@pytest.mark.parametrize("readout", READOUTS)
def test_training_by_every_readout(strict, backbone, readout, images):
    model = keras_memvit.build(
        backbone, [TaskSpec("a", 3, readout=readout), TaskSpec("b", 2, readout=readout)]
    )
    _train(model, images)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_training_by_every_adapter(strict, backbone, adapter, images):
    _train(keras_memvit.build(backbone, TaskSpec("a", 3, adapter=adapter)), images)


def test_a_task_that_sees_another_and_a_store(strict, backbone, images, tmp_path):
    seen = keras_memvit.build(backbone, {"a": 3})
    model = keras_memvit.extend(seen, {"b": 2}, sees=["a"])
    _train(model, images)
    labels = {"b": np.arange(len(images)) % 2}
    store = keras_memvit.precompute(backbone, (images, labels), tmp_path / "store")
    model.fit(store, verbose=0)


def _train(model, images):
    model.compile()
    labels = {name: np.arange(len(images)) % 2 for name in model.task_layers}
    model.fit(images, labels, verbose=0)
    model.predict(images, verbose=0)
