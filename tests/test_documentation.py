"""The README and the pages in `docs/`: their code runs, their links lead somewhere."""

import contextlib
import operator
import pathlib
import re
import sys

import keras
import pytest
from reader import as_torchrun
from reader import what_a_reader_has

import keras_memvit
from keras_memvit.recipes import candidates
from keras_memvit.tasks import readout_names

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
CODE = {
    page: blocks
    for page in PAGES
    if (blocks := re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
}


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.stem)
def test_code_runs(page, backbone, images, monkeypatch, tmp_path):
    if page.stem != "README" and keras.backend.backend() != "torch":
        pytest.skip("every backend runs the README; its tests what pages speak of")
    if any("export_" in code for code in CODE[page]):
        pytest.importorskip("tensorflow")
        pytest.importorskip("tensorflow_serving")
    monkeypatch.setenv("KERAS_MEMVIT_CACHE", str(tmp_path / "cache"))
    # A reader's `learn` tries more; what takes time here is compiling.
    monkeypatch.setattr(candidates, "AUTO", candidates.AUTO[:2])
    if any("export_onnx" in code for code in CODE[page]):
        pytest.importorskip("tf2onnx")
    # A page's readout may have the name of one in another test.
    known = dict(readout_names._READOUTS)
    monkeypatch.setattr(readout_names, "_READOUTS", known)
    hub, scope = what_a_reader_has(backbone, images)
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    monkeypatch.chdir(tmp_path)
    torch_is_there = keras.backend.backend() == "torch"
    with as_torchrun() if torch_is_there else contextlib.nullcontext():
        for code in CODE[page]:
            exec(compile(code, str(page), "exec"), scope)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_named_files_are_there(page):
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)]*)\)", text) if "://" not in link]
    missing = [
        link for link in links if not leads_somewhere(page, *link.partition("#")[::2])
    ]
    named = re.findall(
        r"(?:keras_memvit|benchmarks|examples|tests|scripts)/[\w/]+\.(?:py|sh)", text
    )
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.backend_free
def test_the_method_names_what_there_is():
    text = (ROOT / "docs" / "method.md").read_text()
    names = re.findall(r"`(?:keras_memvit\.)?((?:layers|readouts|plot)\.[\w.]+)`", text)
    assert len(names) > 8
    for name in names:
        operator.attrgetter(name)(keras_memvit)


def leads_somewhere(page, path, anchor):
    """Whether a file is there and has the heading, as a repository's view names it."""
    target = page.parent / path if path else page
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
    return anchor in [
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in headings
    ]
