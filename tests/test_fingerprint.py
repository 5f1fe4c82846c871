"""A backbone's fingerprint is remembered while its weights are the same."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.backbones import fingerprint


@pytest.fixture
def computed(monkeypatch):
    """Counts how often a fingerprint is computed from all weights."""
    calls = []
    compute = fingerprint.compute_fingerprint

    def counting(backbone):
        calls.append(backbone)
        return compute(backbone)

    monkeypatch.setattr(fingerprint, "compute_fingerprint", counting)
    return calls


def on_cpu():
    return not (
        keras.backend.backend() == "tensorflow"
        and "CPU" not in keras.ops.zeros(1).device
    )


@pytest.mark.skipif(not on_cpu(), reason="TensorFlow says on CPUs alone")
def test_it_is_computed_once(computed, tmp_path):
    backbone = make_backbone()
    model = keras_memvit.build(backbone, {"a": 2})
    for i in range(3):
        keras_memvit.save_task(model, "a", tmp_path / f"{i}.safetensors")
    keras_memvit.load_task(
        keras_memvit.build(backbone, {"b": 2}), tmp_path / "0.safetensors"
    )
    assert len(computed) == 1


def change_by_assign(backbone):
    backbone.norm.gamma.assign(2.0 * backbone.norm.gamma)


def change_one_number(backbone):
    kernel = backbone.blocks[0].attention.weights[0]
    values = keras.ops.convert_to_numpy(kernel).copy()
    values.flat[3] += 1e-6
    kernel.assign(values)


def change_all(backbone):
    backbone.set_weights([2 * w for w in backbone.get_weights()])


def change_and_change_back(backbone):
    values = backbone.get_weights()
    backbone.set_weights([2 * w for w in values])
    backbone.fingerprint()
    backbone.set_weights(values)
    backbone.norm.beta.assign_add(keras.ops.ones(32))


@pytest.mark.parametrize(
    "change", [change_by_assign, change_one_number, change_all, change_and_change_back]
)
def test_a_changed_weight_is_seen(change):
    backbone = make_backbone()
    before = backbone.fingerprint()
    assert backbone.fingerprint() == before
    change(backbone)
    assert backbone.fingerprint() == fingerprint.compute_fingerprint(backbone) != before


def test_loaded_weights_are_seen(tmp_path):
    backbone, other = make_backbone(), make_backbone(seed=9)
    other.save_weights(tmp_path / "x.weights.h5")
    before = backbone.fingerprint()
    backbone.load_weights(tmp_path / "x.weights.h5")
    assert backbone.fingerprint() == other.fingerprint() != before


def test_values_that_come_back_have_their_fingerprint_again():
    backbone = make_backbone()
    before, values = backbone.fingerprint(), backbone.get_weights()
    change_all(backbone)
    backbone.fingerprint()
    backbone.set_weights(values)
    assert backbone.fingerprint() == before


def test_it_outlives_training_and_prediction(computed, images):
    model = keras_memvit.build(make_backbone(num_layers=1), {"a": 2})
    model.backbone.fingerprint()
    del computed[:]
    model.compile()
    model.fit(images, np.arange(8) % 2, verbose=0)
    model.predict(images, verbose=0)
    model.backbone.fingerprint()
    assert len(computed) == 0 or not on_cpu()
