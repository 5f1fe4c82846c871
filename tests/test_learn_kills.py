"""`learn` killed at any moment and called again ends as if it had not been."""

import json
import os

import numpy as np
import pytest
from test_kills import KILLS
from test_kills import interrupted
from test_kills import load
from test_kills import run  # noqa: F401 (a fixture)
from test_kills import whole_run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks"),
    pytest.mark.backend_free,
]


@pytest.mark.parametrize(
    "kills", [3, pytest.param(KILLS or 12, marks=pytest.mark.large)]
)
def test_learn(kills, run, tmp_path):  # noqa: F811
    seconds = whole_run(run, "learn", tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()

    def is_nothing_or_whole():
        if (path := folder / "out" / "a.safetensors").exists():
            load(path)
        if (card := folder / "out" / "a.json").exists():
            json.loads(card.read_text())

    met = interrupted(run, "learn", folder, kills, 0.9 * seconds, is_nothing_or_whole)
    assert met
    found, expected = (
        load(path / "out" / "a.safetensors").task_layers["a"].arrays()
        for path in (folder, tmp_path / "whole")
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert chosen(folder) == chosen(tmp_path / "whole")
    left = sorted(os.listdir(folder / "out"))
    assert left == ["a.json", "a.safetensors", "report.html"]
    assert files(folder) == files(tmp_path / "whole")  # of the cache too


def files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def chosen(folder):
    """The candidates in their order, and how well the best does."""
    card = json.loads((folder / "out" / "a.json").read_text())
    tried = [(row["candidate"], row["epochs"]) for row in card["table"]]
    return tried, card["val_accuracy"], pytest.approx(card["temperature"], rel=1e-3)
