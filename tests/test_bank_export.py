"""A bank's SavedModel answers, by name, as the bank does."""

import io
import json

import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from PIL import Image

import keras_memvit
from keras_memvit import TaskBank
from keras_memvit import TaskSpec

tf = pytest.importorskip("tensorflow")

SPECS = [
    TaskSpec("plain", 3, class_names=["owl", "tit", "wren"]),
    TaskSpec("more", 4, num_memory_tokens=2),
    TaskSpec("deep", 5, readout="deep"),
    TaskSpec("narrow", 3, readout="deep", head_inputs=[0, 5, 40, 70]),
    TaskSpec("labels", 4, kind="multi_label"),
    TaskSpec("number", 2, kind="regression"),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bank, and its SavedModel, loaded."""
    folder = tmp_path_factory.mktemp("bank")
    model = keras_memvit.build(make_backbone(), SPECS)
    bank = TaskBank(model.backbone)
    for i, spec in enumerate(SPECS):
        layer = model.task_layers[spec.name]
        randomize(layer, seed=i)
        if spec.kind == "regression":
            layer.variables_by_name["target/scale"].assign([3.0, 0.5])
        keras_memvit.save_task(model, spec.name, folder / f"{spec.name}.safetensors")
        bank.load(folder / f"{spec.name}.safetensors")
    path = bank.export_saved_model(folder / "served")
    assert path == folder / "served" / "1"
    return bank, path, tf.saved_model.load(str(path))


def test_each_image_names_its_tasks(exported, images):
    bank, _, loaded = exported
    names = [["plain", "number"], ["deep", ""], ["narrow", "labels"], ["more", "plain"]]
    pixels = images[:4].astype("float32")
    found = loaded.signatures["serving_default"](
        images=tf.constant(pixels), task_names=tf.constant(names)
    )
    found = {key: value.numpy() for key, value in found.items()}
    own = [[name for name in row if name] for row in names]
    expected = bank.predict(pixels, tasks=own)
    for i, row in enumerate(names):
        for n, name in enumerate(row):
            size = found["num_classes"][i, n]
            assert not found["logits"][i, n, size:].any()
            assert not found["probabilities"][i, n, size:].any()
            if not name:
                assert size == 0
                continue
            logits = expected[i][name]
            np.testing.assert_allclose(
                found["logits"][i, n, :size], logits, rtol=1e-4, atol=1e-4
            )
            if name == "labels":
                chances = 1 / (1 + np.exp(-logits))
            elif name == "number":
                chances = np.zeros(2)
            else:
                chances = np.exp(logits) / np.exp(logits).sum()
            np.testing.assert_allclose(
                found["probabilities"][i, n, :size], chances, atol=1e-4
            )


def test_encoded_images_and_class_names(exported, images):
    bank, path, loaded = exported
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, "png")
    found = loaded.signatures["serving_default_bytes"](
        image_bytes=tf.constant([file.getvalue()]), task_names=tf.constant([["plain"]])
    )
    expected = bank.predict(images[:1], tasks=["plain"])["plain"]
    np.testing.assert_allclose(
        found["logits"][:, 0, :3], expected, rtol=1e-4, atol=1e-4
    )
    names = json.loads((path / "assets" / "tasks.json").read_text())
    assert names["plain"] == ["owl", "tit", "wren"]
    assert names["more"] == ["0", "1", "2", "3"]


def test_an_unknown_name_is_an_error_of_that_request(exported, images):
    answer = exported[2].signatures["serving_default"]
    pixels = tf.constant(images[:1].astype("float32"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="nobody"):
        answer(images=pixels, task_names=tf.constant([["nobody"]]))
    found = answer(images=pixels, task_names=tf.constant([["plain"]]))
    assert found["num_classes"].numpy().tolist() == [[3]]


def test_what_cannot_be_exported(exported, tmp_path):
    bank, path, _ = exported
    with pytest.raises(ValueError, match="holds no task"):
        TaskBank(bank.backbone).export_saved_model(tmp_path)
    with pytest.raises(ValueError, match="does not exist yet"):
        bank.export_saved_model(path)
    with pytest.raises(ValueError, match="max_pixels=0"):
        bank.export_saved_model(tmp_path, max_pixels=0)
    assert not list(tmp_path.iterdir())
