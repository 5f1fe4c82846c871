"""Whatever is killed, nothing is lost, nothing is left over, a restart ends the same.

`KERAS_MEMVIT_KILLS=60` kills each of them that often; in the suite it is a few.
"""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from damage import same
from processes import TESTS

import keras_memvit
from keras_memvit.files.leftovers import is_temporary

KILLS = int(os.environ.get("KERAS_MEMVIT_KILLS", 0))
pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks"),
]


class Server:
    """A `kill_server` in a process of its own."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(TESTS / "kill_server.py")],
            env={
                **os.environ,
                "KERAS_BACKEND": keras.backend.backend(),
                "PYTHONPATH": os.pathsep.join([str(TESTS), os.getcwd()]),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, verb, folder, seconds=None):
        self.process.stdin.write(json.dumps([verb, str(folder), seconds]) + "\n")
        self.process.stdin.flush()

    def wait(self):
        """The exit code and the seconds of what was started."""
        return json.loads(self.process.stdout.readline())

    def __call__(self, *args):
        self.start(*args)
        return self.wait()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def run():
    """A function that runs a verb of `kill_server`, killed after some seconds."""
    server = Server()
    yield server
    server.close()


def leftovers(folder):
    return [path for path in folder.rglob("*") if is_temporary(path)]


def whole_run(run, verb, folder):
    """Runs it to its end; how long that took."""
    folder.mkdir()
    code, seconds = run(verb, folder)
    assert code == 0
    assert not leftovers(folder)
    return seconds


def interrupted(run, verb, folder, kills, seconds, check=lambda: None):
    """Runs it with kills spread over its duration, and then to its end.

    Returns:
        How many kills met it at work.
    """
    rng, met = np.random.default_rng(0), 0
    for _ in range(kills):
        code, _ = run(verb, folder, rng.uniform(0.0, seconds))
        assert code in (0, -signal.SIGKILL)
        met += code != 0
        check()
    assert run(verb, folder)[0] == 0
    assert not leftovers(folder)
    print(f"{verb}: {met} kills")
    return met


@pytest.mark.parametrize(
    "verb, name", [("save_tasks", "a.safetensors"), ("save_models", "a.keras")]
)
def test_a_file_that_is_saved_again_and_again(verb, name, run, tmp_path):
    path = tmp_path / name
    rng, left = np.random.default_rng(0), 0
    for _ in range(KILLS or 2):
        code, _ = run(
            verb, tmp_path, 1.0 + rng.uniform(0.0, 0.5) + 3.0 * (not path.exists())
        )
        assert code == -signal.SIGKILL
        left += bool(leftovers(tmp_path))
        load(path)
        assert len(leftovers(tmp_path)) <= 1  # the next writer takes the last one's
    model = keras_memvit.load_model(path) if path.suffix == ".keras" else load(path)
    keras_memvit.save_task(model, "a", tmp_path / "b.safetensors")
    assert sorted(os.listdir(tmp_path)) == sorted([name, "b.safetensors"])
    print(f"{verb}: {KILLS or 2} kills, {left} left something")


def load(path):
    if path.suffix == ".keras":
        return keras_memvit.load_model(path)
    backbone = make_backbone()
    return keras_memvit.load_task(backbone, path)


def make_backbone():
    from conftest import make_backbone

    return make_backbone(num_layers=1)


def assert_equal(store, expected):
    """Up to the rounding of a backend's kernels, which may differ from run to run."""
    found, expected = (s.rows(range(12)) for s in (store, expected))
    np.testing.assert_allclose(found, expected, 1e-4, 1e-5)


def test_a_store(run, tmp_path):
    seconds = whole_run(run, "precompute", tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    interrupted(run, "precompute", folder, KILLS or 3, seconds)
    found, expected = map(keras_memvit.StateStore, (folder, tmp_path / "whole"))
    assert_equal(found, expected)
    assert same(found.targets, expected.targets)


def test_two_processes_write_one_store(run, tmp_path):
    """As two containers do that share a folder; one of them may be killed."""
    seconds = whole_run(run, "precompute", tmp_path / "whole")
    expected = keras_memvit.StateStore(tmp_path / "whole")
    rng, other = np.random.default_rng(0), Server()
    for i in range(KILLS or 2):
        folder = tmp_path / f"{i}"
        folder.mkdir()
        other.start("precompute", folder, rng.uniform(0.0, seconds) if i % 2 else None)
        assert run("precompute", folder)[0] == 0
        # Whatever the other does.
        assert_equal(keras_memvit.StateStore(folder), expected)
        assert other.wait()[0] in (0, -signal.SIGKILL)
        assert_equal(keras_memvit.StateStore(folder), expected)
        assert run("precompute", folder)[0] == 0
        assert not leftovers(folder)
    other.close()


def test_a_training(run, tmp_path):
    """From where the last whole epoch ended, to the same values."""
    seconds = whole_run(run, "fit", tmp_path / "whole")
    met, rounds = 0, 0
    while met < (KILLS or 2):  # a training is killed some five times
        folder = tmp_path / f"killed{rounds}"
        folder.mkdir()
        met += interrupted(run, "fit", folder, 5 if KILLS else 2, 0.9 * seconds)
        rounds += 1
        found, expected = (
            load(path / "a.safetensors").task_layers["a"].arrays()
            for path in (folder, tmp_path / "whole")
        )
        for name in expected:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-5, atol=1e-6
            )
    print(f"fit: {met} kills in {rounds} trainings")


def test_a_sweep(run, tmp_path):
    seconds = whole_run(run, "try_recipes", tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    interrupted(run, "try_recipes", folder, KILLS // 3 or 1, seconds)
    tables = [(f / "table.txt").read_text() for f in (folder, tmp_path / "whole")]
    assert tables[0] == tables[1]


@pytest.mark.skipif(not KILLS, reason="half a minute a kill: KERAS_MEMVIT_KILLS")
def test_an_export(run, tmp_path):
    folder = tmp_path / "people"
    seconds = whole_run(run, "export", folder)

    def is_whole():
        card = folder / "1" / "assets.extra" / "keras_memvit.json"
        assert json.loads(card.read_text())["tasks"][0]["name"] == "a"
        assert (folder / "1" / "saved_model.pb").stat().st_size > 1000

    interrupted(run, "export", folder, KILLS // 3, seconds, is_whole)
    is_whole()
    assert sorted(os.listdir(folder)) == ["1", "batching.config", "models.config"]
