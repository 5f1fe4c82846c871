"""Several writers of one store, which may share their process numbers."""

import threading

import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.states import writer

OPTIONS = {"dtype": "float32", "verbose": 0, "batch_size": 2}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Two images a shard, and no model: states are the images' means."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 2 * 7 * 32 * 4)
    monkeypatch.setattr(writer.StatesEncoder, "predict_on_batch", states)


def states(self, x):
    """(n, 1, 7, 32), which two machines compute to other last bits."""
    means = x.astype("float32").mean(axis=(1, 2, 3))
    rounding = 1e-6 * (threading.current_thread().name == "other")
    return np.tile((means + rounding)[:, None, None, None], (1, 1, 7, 32))


@pytest.fixture
def data(images):
    return images, np.arange(8) % 2


def in_thread(function):
    thread = threading.Thread(target=function, name="other")
    thread.start()
    return thread


def check(path, images):
    """Every shard is whole, by its checksum, and is of one writer."""
    store = keras_memvit.StateStore(path)
    rows = store.rows(range(8))[:, 0, 0, 0]
    np.testing.assert_allclose(rows, images.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_two_writers_at_once(data, tmp_path):
    backbone = make_backbone(num_layers=1)
    backbone.fingerprint()
    for i in range(8):
        path = tmp_path / f"{i}"

        def precompute(path=path):
            keras_memvit.precompute(backbone, data, path, **OPTIONS)

        other = in_thread(precompute)
        precompute()
        check(path, data[0])  # while the other may still write
        other.join()
        check(path, data[0])
        names = sorted(p.name for p in path.iterdir())
        assert len(names) == 1 + 3 * 4


def test_a_late_writer_leaves_a_whole_store_whole(data, tmp_path, monkeypatch):
    """It began before there was a store, and ends, or is killed, after another."""
    backbone = make_backbone(num_layers=1)
    begun, go_on = threading.Event(), threading.Event()

    def waits(self, x):
        if threading.current_thread().name == "other":
            begun.set()
            go_on.wait()
        return states(self, x)

    monkeypatch.setattr(writer.StatesEncoder, "predict_on_batch", waits)
    late = in_thread(
        lambda: keras_memvit.precompute(backbone, data, tmp_path, **OPTIONS)
    )
    begun.wait()
    keras_memvit.precompute(backbone, data, tmp_path, **OPTIONS)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    check(tmp_path, data[0])
    go_on.set()
    late.join()
    check(tmp_path, data[0])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
