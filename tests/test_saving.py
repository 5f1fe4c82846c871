"""`model.save` here, `keras.saving.load_model` in a fresh process anywhere."""

import json

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from processes import BACKENDS
from processes import run_python

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.layers import BaseClassifier
from keras_memvit.models.memory_vit import MemoryViT

LOAD = """
import sys
import json

import keras
import numpy as np
import keras_memvit

path, images, logits = sys.argv[1:]
model = keras.saving.load_model(path)
np.savez(logits, **model.predict(np.load(images), verbose=0))
print(model.backbone.fingerprint(), len(model.trainable_variables), model.compiled)
"""


def make_model():
    backbone = make_backbone("registers")
    classifier = BaseClassifier(5, name="base")
    classifier.build((None, None, backbone.hidden_dim))
    specs = [
        TaskSpec("a", 3, 2, class_names=["x", "y", "z"]),
        TaskSpec("b", 2, 3, sees=["a"], memory_norm=False, readout="deep"),
    ]
    model = MemoryViT(backbone, specs, classifier=randomize(classifier))
    for task in model.task_layers.values():
        randomize(task)
    return model


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_saved_model_loads_in_a_fresh_process(backend, images, tmp_path):
    model = make_model()
    model.compile()
    model.fit(images, {"a": np.arange(8) % 3, "b": np.arange(8) % 2}, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    printed = run_python(
        LOAD,
        backend,
        *(tmp_path / n for n in ("model.keras", "images.npy", "logits.npz")),
    )
    fingerprint, trainable, compiled = printed.split()[-3:]
    assert fingerprint == model.backbone.fingerprint()
    assert int(trainable) == len(model.trainable_variables)
    assert compiled == "True"
    logits = np.load(tmp_path / "logits.npz")
    expected = model.predict(images, verbose=0)
    assert set(logits) == {"a", "b", "base"}
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-5)


def test_a_loaded_model_keeps_specs_optimizer_and_frozen_weights(images, tmp_path):
    model = make_model()
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss_weights={"a": 0.5})
    labels = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}
    model.fit(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.specs == model.specs
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    history, expected = (
        m.fit(images, labels, verbose=0).history for m in (loaded, model)
    )
    assert expected.keys() == history.keys()
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)


def test_unmasked_and_mixed_precision_models_save(images, tmp_path):
    model = keras_memvit.build(
        make_backbone(), {"a": 3}, attention="unmasked", dtype="mixed_bfloat16"
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.attention == "unmasked"
    assert loaded.encoder.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0)["a"], model.predict(images, verbose=0)["a"]
    )


def test_a_backbone_saves_by_itself(images, tmp_path):
    backbone = make_backbone("clip")
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    assert loaded.fingerprint() == backbone.fingerprint()
    assert not loaded.trainable_variables
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), backbone.predict(images, verbose=0)
    )
