"""An export that is interrupted leaves the old version, and nothing beside it."""

import os
import pathlib

import pytest
from test_saving import make_model

import keras_memvit
from keras_memvit.serving import saved_model_export

OPTIONS = {"signatures": ["b"], "labels": False, "warmup": False, "overwrite": True}


def writes(model, request, scratch):
    """In place of what builds a SavedModel."""
    folder = pathlib.Path(request.path)
    folder.mkdir()
    (folder / "saved_model.pb").write_text("new")


@pytest.fixture
def version(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model_export, "run", writes)
    folder = tmp_path / "people" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("old")
    return folder


def test_the_new_version_takes_the_old_one_s_place(version):
    keras_memvit.export_saved_model(make_model(), version, **OPTIONS)
    assert (version / "saved_model.pb").read_text() == "new"
    names = sorted(os.listdir(version.parent))
    assert names == ["1", "batching.config", "models.config"]


@pytest.mark.parametrize("in_one_step", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_between_two_names_loses_nothing(
    in_one_step, error, version, monkeypatch
):
    from keras_memvit.files import exchange

    rename = pathlib.Path.rename

    def fails(self, target):
        if self.name == "saved_model":
            raise error
        return rename(self, target)

    def exchanges(new, path):
        if in_one_step:
            raise error
        return False

    monkeypatch.setattr(pathlib.Path, "rename", fails)
    monkeypatch.setattr(exchange, "exchange", exchanges)
    with pytest.raises(error):
        keras_memvit.export_saved_model(make_model(), version, **OPTIONS)
    assert (version / "saved_model.pb").read_text() == "old"
    assert os.listdir(version.parent) == ["1"]
