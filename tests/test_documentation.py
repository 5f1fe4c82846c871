"""The README and the pages in `docs/`: their code runs, their links lead somewhere."""

import pathlib
import re
import sys
import types

import keras
import numpy as np
import pytest

import keras_memvit
from keras_memvit.recipes import candidates

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
CODE = {
    page: blocks
    for page in PAGES
    if (blocks := re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
}


def what_a_reader_has(backbone, images):
    """The names that pages take for granted: small data, and models by task."""
    hub = types.ModuleType("keras_hub")  # presets need the network
    preset = types.SimpleNamespace(from_preset=lambda name: backbone)
    hub.models = types.SimpleNamespace(Backbone=preset)
    digits, faces = np.arange(8), np.arange(8) % 2
    models = {
        name: keras_memvit.build(backbone, {name: count})
        for name, count in (("digits", 10), ("faces", 2))
    }
    for model in models.values():
        model.compile()
    return hub, {
        "__name__": "stranger",  # whose readout a page and the tests define
        "keras": keras,
        "keras_memvit": keras_memvit,
        "backbone": backbone,
        "images": images,
        "pictures": np.concatenate([images, images]),
        "labels": np.arange(16) % 2,
        "digit_labels": np.arange(16) % 10,
        "train_images": images,
        "train_labels": digits,
        "val_images": images,
        "val_labels": digits,
        "train_a": (images, digits),
        "val_a": (images, digits),
        "train_b": (images, faces),
        "val_b": (images, faces),
        **models,
        "both": keras_memvit.concatenate(list(models.values())),
    }


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.stem)
def test_code_runs(page, backbone, images, monkeypatch, tmp_path):
    if any("export_" in code for code in CODE[page]):
        if page.stem == "serving" and keras.backend.backend() != "tensorflow":
            pytest.skip("the artefact is TensorFlow's from every backend: tested there")
        pytest.importorskip("tensorflow")
        pytest.importorskip("tensorflow_serving")
    monkeypatch.setenv("KERAS_MEMVIT_CACHE", str(tmp_path / "cache"))
    # A reader's `learn` tries more; what takes time here is compiling.
    monkeypatch.setattr(candidates, "AUTO", candidates.AUTO[:2])
    if any("export_onnx" in code for code in CODE[page]):
        pytest.importorskip("tf2onnx")
    hub, scope = what_a_reader_has(backbone, images)
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    monkeypatch.chdir(tmp_path)
    for code in CODE[page]:
        exec(compile(code, str(page), "exec"), scope)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_named_files_are_there(page):
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)]*)\)", text) if "://" not in link]
    missing = [
        link
        for link in links
        if not link.startswith("#") and not (page.parent / link).exists()
    ]
    named = re.findall(
        r"(?:keras_memvit|benchmarks|examples|tests|scripts)/[\w/]+\.(?:py|sh)", text
    )
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing
