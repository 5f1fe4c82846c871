"""`precompute` beside others, after kills and damage, and on a full disk."""

import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import make_backbone
from processes import TESTS

import keras_memvit
from keras_memvit.states import writer

pytestmark = pytest.mark.usefixtures("small_shards")
LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}


def test_several_processes_write_one_store(images, tmp_path):
    backbone = make_backbone()
    options = {"dtype": "float32", "verbose": 0}
    data = (images, LABELS)
    half = keras_memvit.precompute(backbone, data, tmp_path, process=(1, 2), **options)
    assert half is None
    assert [p.name for p in tmp_path.glob("*.npy")] == ["view0-00001.npy"]
    whole = keras_memvit.precompute(backbone, data, tmp_path, process=(0, 2), **options)
    assert len(whole) == 8


def computed(monkeypatch):
    """Counts the images that go through the backbone."""
    counts = []
    predict = writer.StatesEncoder.predict_on_batch

    def counting(self, x):
        counts.append(len(x))
        return predict(self, x)

    monkeypatch.setattr(writer.StatesEncoder, "predict_on_batch", counting)
    return counts


def test_damaged_shards_alone_are_computed_again(images, tmp_path, monkeypatch):
    backbone = make_backbone()
    counts = computed(monkeypatch)
    options = {"dtype": "float32", "verbose": 0}
    data = (images, LABELS)
    keras_memvit.precompute(backbone, data, tmp_path, **options)
    assert sum(counts) == 8
    whole = (tmp_path / "view0-00001.npy").read_bytes()
    (tmp_path / "view0-00001.npy").write_bytes(whole[:-1] + b"?")
    (tmp_path / "view0-00002.json").write_text("{")
    counts.clear()
    store = keras_memvit.precompute(backbone, data, tmp_path, **options)
    assert sum(counts) == 3 + 2
    assert (tmp_path / "view0-00001.npy").read_bytes() == whole
    assert len(store) == 8


WRITE = """
import sys
import numpy as np
from conftest import make_backbone
import keras_memvit
from keras_memvit.states import writer

writer.SHARD_BYTES = 3 * 2 * 7 * 32 * 4
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (9, 32, 48, 3), dtype="uint8")
write = writer.Shard.write

def announced(self, *args):
    write(self, *args)
    print("shard", self.stem.name, flush=True)
    sys.stdin.readline()

writer.Shard.write = announced
keras_memvit.precompute(
    make_backbone(), (images, np.arange(9)), sys.argv[1],
    dtype="float32", verbose=0)
print("done", flush=True)
"""


def write_in_process(folder, kill_after=None):
    """Names of the shards that a process wrote before it ended or was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(folder)],
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "PYTHONPATH": str(TESTS),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    written = []
    for line in process.stdout:
        if line.startswith("shard"):
            written.append(line.split()[1])
            if len(written) == kill_after:
                process.send_signal(signal.SIGKILL)
                break
            process.stdin.write("go\n")
            process.stdin.flush()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        pipe.close()
    return written


@pytest.mark.backend_free
def test_a_killed_precompute_goes_on_where_it_stopped(tmp_path):
    killed = write_in_process(tmp_path, kill_after=2)
    assert killed == ["view0-00000", "view0-00001"]
    with pytest.raises(ValueError, match="`precompute` has finished"):
        keras_memvit.StateStore(tmp_path)
    assert write_in_process(tmp_path) == ["view0-00002"]
    assert len(keras_memvit.StateStore(tmp_path)) == 9


def test_a_full_disk_is_refused_before_anything_is_computed(
    images, tmp_path, monkeypatch
):
    counts = computed(monkeypatch)
    usage = type("usage", (), {"total": 100_000, "free": 10_000})
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="has room for 0.00 GB.*8 images need"):
        keras_memvit.precompute(make_backbone(), (images, LABELS), tmp_path, verbose=0)
    assert counts == []
    assert not list(tmp_path.glob("*.npy"))
