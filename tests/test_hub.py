"""Tasks at the Hugging Face hub: pushed and loaded, on loopback."""

import json

import huggingface_hub.constants as constants
import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit


@pytest.fixture
def task(tmp_path):
    spec = keras_memvit.TaskSpec("birds", 2, class_names=["|x|<script>", "wren"])
    model = keras_memvit.build(make_backbone(), [spec])
    path = tmp_path / "birds" / "birds.safetensors"
    path.parent.mkdir()
    keras_memvit.save_task(model, "birds", path)
    return model, path


def test_a_pushed_task_answers_as_before(hub, task):
    model, path = task
    assert keras_memvit.push_task(path, "user/birds", token="t") == "hf://user/birds"
    loaded = keras_memvit.load_task(make_backbone(), "hf://user/birds")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), "uint8")
    want, got = (
        keras.ops.convert_to_numpy(m(images)["birds"]) for m in (model, loaded)
    )
    np.testing.assert_array_equal(got, want)
    shown = []
    keras_memvit.inspect("hf://user/birds/birds.safetensors", print_fn=shown.append)
    assert "task: birds" in shown[0]


def test_what_learn_wrote_beside_it_is_pushed_and_in_the_card(hub, task):
    _, path = task
    found = {"table": [], "val_accuracy": 0.75, "backbone": "dinov2_small"}
    path.with_suffix(".json").write_text(json.dumps(found))
    path.with_name("report.html").write_text("<html>")
    path.with_name("private.txt").write_text("not to be sent")
    keras_memvit.push_task(path, "user/birds", token="t")
    files = hub.files["user/birds"]
    assert set(files) == {
        "README.md",
        "birds.safetensors",
        "birds.json",
        "report.html",
    }
    card = files["README.md"].decode()
    assert 'load_task("dinov2_small", "hf://user/birds")' in card
    assert "| val_accuracy | 0.75 |" in card
    assert r"\|x\|\<script\>, wren" in card


def test_a_former_version_is_loaded_without_the_hub(hub, task, monkeypatch):
    _, path = task
    keras_memvit.push_task(path, "user/birds", token="t")
    keras_memvit.load_task(make_backbone(), "hf://user/birds")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    keras_memvit.load_task(make_backbone(), "hf://user/birds")


def test_damage_is_found_before_anything_is_sent(hub, task):
    _, path = task
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        keras_memvit.push_task(path, "user/birds", token="t")
    assert hub.files == {}


def test_refusals_are_one_clear_line(hub, task):
    _, path = task
    keras_memvit.push_task(path, "user/birds", token="t")
    hub.refuse = True
    with pytest.raises(ValueError, match="`repo_id` 'user/birds' cannot be pushed"):
        keras_memvit.push_task(path, "user/birds", token="t")
    with pytest.raises(ValueError, match="cannot be pushed"):
        keras_memvit.push_task(path, "a/b/c", token="t")
    for handle, message in (
        ("hf://user/nothing", "cannot be downloaded"),
        ("hf://birds", "must look like 'hf://user/name'"),
        ("hf://user/birds/other.safetensors", "there is no such file"),
    ):
        with pytest.raises(ValueError, match=message):
            keras_memvit.load_task(make_backbone(), handle)
