"""What holds of every model, on one small backbone of each of KerasHub's families."""

import json

import keras
import numpy as np
import pytest
from conftest import randomize
from conftest import snapshot
from families import FAMILIES
from families import ONE_EACH
from families import images_for

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import readouts

SPECS = [
    TaskSpec("plain", 3, 2),
    TaskSpec("deep", 3, 2, readout=readouts.Deep(num_query_tokens=2)),
    TaskSpec("side", 3, 2, readout=readouts.Side(rank=4)),
    TaskSpec("sees", 2, 1, sees=["plain"]),
]
# The others differ in nothing that these tests could see.
FEW = [
    pytest.param(kind, marks=() if kind in ("DINOv3", "SigLIP") else pytest.mark.large)
    for kind in ONE_EACH
]
LABELS = {"plain": np.arange(8) % 3, "deep": np.arange(8) % 3, "side": np.arange(8) % 3}


def make(kind):
    source = FAMILIES[kind][0]()
    model = keras_memvit.build(source, SPECS)
    for seed, task in enumerate(model.task_layers.values()):
        randomize(task, seed + 10)
    return model, images_for(source, 8)


@pytest.mark.parametrize("kind", FEW)
def test_a_store_trains_as_images_do_and_the_frozen_part_stays(kind, tmp_path):
    (model, images), (other, _) = make(kind), make(kind)
    frozen = snapshot(model.backbone.weights)
    store = keras_memvit.precompute(
        model, (images, LABELS), tmp_path, dtype="float32", verbose=0
    )
    found = model.predict(store, verbose=0)
    for name, value in model.predict(images, verbose=0).items():
        if name != "base":
            np.testing.assert_allclose(found[name], value, atol=1e-4)
    options = {"batch_size": 4, "epochs": 1, "shuffle": False, "verbose": 0}
    for trained, data in ((model, (store,)), (other, (images, LABELS))):
        trained.compile(keras.optimizers.SGD(0.01, global_clipnorm=1.0))
        trained.fit(*data, **options)
    for name, task in model.task_layers.items():
        values = snapshot(task.weights)
        for path, value in snapshot(other.task_layers[name].weights).items():
            np.testing.assert_allclose(values[path], value, atol=1e-4)
    for path, value in snapshot(model.backbone.weights).items():
        np.testing.assert_array_equal(value, frozen[path])


@pytest.mark.parametrize("kind", FEW)
def test_extension_and_files_keep_every_answer(kind, tmp_path):
    model, images = make(kind)
    before = model.predict(images, verbose=0)
    more = keras_memvit.extend(model, {"new": 2}, sees=["plain"])
    randomize(more.task_layers["new"], 99)
    differences = more.verify_unchanged(images)
    assert differences.pop("base") == 0.0
    assert max(differences.values()) < 1e-5
    keras_memvit.save_task(model, "deep", tmp_path / "deep.safetensors")
    alone = keras_memvit.load_task(FAMILIES[kind][0](), tmp_path / "deep.safetensors")
    more.save(tmp_path / "more.keras")
    loaded = keras.saving.load_model(tmp_path / "more.keras")
    assert loaded.backbone.fingerprint() == model.backbone.fingerprint()
    for found in (more, alone, loaded):
        after = found.predict(images, verbose=0)
        for name in set(after) & set(before):
            np.testing.assert_allclose(after[name], before[name], atol=1e-5)
    assert set(after) == {*before, "new"}


@pytest.mark.large
@pytest.mark.parametrize("kind", ONE_EACH)
def test_the_saved_model_and_onnx_answer_as_the_model(kind, tmp_path):
    """Both compare every signature's answers with the model's, and fail otherwise."""
    model, _ = make(kind)
    path = keras_memvit.export_saved_model(model, tmp_path / "1", warmup=False)
    card = json.loads((path / "assets.extra/keras_memvit.json").read_text())
    assert set(card["largest_difference"]) == set(model.output)
    assert max(card["largest_difference"].values()) < 1e-4
    keras_memvit.export_onnx(model, tmp_path / "model.onnx")
