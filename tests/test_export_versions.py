"""Versions, stored types, and what an export refuses."""

import importlib.util
import json

import pytest
from conftest import make_backbone
from conftest import randomize
from test_saving import make_model

import keras_memvit
from keras_memvit.serving.build import Request
from keras_memvit.serving.build import run


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_an_existing_version_is_kept_unless_asked(model, tmp_path):
    folder = tmp_path / "people"
    first = folder / "1"
    first.mkdir(parents=True)
    (first / "saved_model.pb").write_bytes(b"old")
    (folder / "models.config").write_text("# the user's\n")
    options = {"signatures": ["b"], "labels": False, "warmup": False}
    with pytest.raises(ValueError, match="version that does not exist yet"):
        keras_memvit.export_saved_model(model, first, **options)
    assert (first / "saved_model.pb").read_bytes() == b"old"
    keras_memvit.export_saved_model(model, first, overwrite=True, **options)
    assert (first / "saved_model.pb").stat().st_size > 1000
    assert not (first / "assets.extra" / "tf_serving_warmup_requests").exists()
    second = keras_memvit.export_saved_model(model, folder, dtype="bfloat16", **options)
    assert second == folder / "2"
    card = json.loads((second / "assets.extra" / "keras_memvit.json").read_text())
    assert card["dtype"] == "bfloat16"
    assert 0 < card["largest_difference"]["b"] < 0.5
    sizes = [
        sum(f.stat().st_size for f in (version / "variables").iterdir())
        for version in (first, second)
    ]
    assert sizes[1] < 0.6 * sizes[0]
    names = sorted(p.name for p in folder.iterdir())  # nothing half-written
    assert names == ["1", "2", "batching.config", "models.config"]
    assert (folder / "models.config").read_text() == "# the user's\n"


def test_mixed_precision_models_are_served_in_float32(images, tmp_path):
    model = keras_memvit.build(make_backbone(), {"a": 3}, dtype="mixed_bfloat16")
    randomize(model.task_layers["a"])
    folder = keras_memvit.export_saved_model(
        model, tmp_path / "half" / "1", signatures=["a"], warmup=False
    )
    card = json.loads((folder / "assets.extra" / "keras_memvit.json").read_text())
    assert card["largest_difference"]["a"] < 0.3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"signatures": ["c"]}, r"`signatures` must be 'all'.*\['c'\]"),
        ({"signatures": []}, "`signatures` must be 'all'"),
        ({"dtype": "int8"}, "`dtype` must be one of.*'int8'"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_memvit.export_saved_model(model, tmp_path / "m" / "1", **arguments)
    assert not list((tmp_path / "m").glob("*"))


def test_tasks_whose_signatures_clash_and_unmasked_models_are_refused(tmp_path):
    clash = keras_memvit.build(make_backbone(), {"a": 2, "a_bytes": 2})
    with pytest.raises(ValueError, match="Two signatures.*'a_bytes'"):
        keras_memvit.export_saved_model(clash, tmp_path / "1")
    unmasked = keras_memvit.build(make_backbone(), {"a": 2}, attention="unmasked")
    with pytest.raises(ValueError, match="masked attention"):
        keras_memvit.export_saved_model(unmasked, tmp_path / "1")


def test_what_goes_wrong_in_the_building_process_is_told(model, tmp_path):
    with pytest.raises((RuntimeError, KeyError), match="no_such_format"):
        run(model, Request("no_such_format", str(tmp_path / "x")), tmp_path)


@pytest.mark.parametrize(
    "module, package",
    [
        ("tensorflow", "tensorflow"),
        ("tensorflow_serving", "tensorflow-serving-api"),
    ],
)
def test_a_missing_package_is_named(model, tmp_path, monkeypatch, module, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == module else find_spec(n)
    )
    with pytest.raises(ImportError, match=f"pip install {package}"):
        keras_memvit.export_saved_model(model, tmp_path / "1")
