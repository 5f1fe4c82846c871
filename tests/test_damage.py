"""Damaged task files and stores are refused, or give the original's values.

`KERAS_MEMVIT_DAMAGED=10000` damages that many task files and a fifth as many stores.
"""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from damage import Outcomes
from damage import mutate
from damage import same

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.states import writer

MANY = int(os.environ.get("KERAS_MEMVIT_DAMAGED", 1000))
BACKBONE = make_backbone()
SHORT = pytest.param("short")
LONG = pytest.param("long", marks=pytest.mark.large)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Three images a shard."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 3 * 2 * 7 * 32 * 4)


def save_task(path):
    spec = TaskSpec("a", 3, class_names=["x", "y", "z"], readout="deep")
    model = keras_memvit.build(BACKBONE, [spec])
    randomize(model.task_layers["a"])
    keras_memvit.save_task(model, "a", path)
    return model


@pytest.mark.parametrize("length", [SHORT, LONG])
def test_damaged_task_files(length, tmp_path):
    path = tmp_path / "a.safetensors"
    model = save_task(path)
    expected, content = model.task_layers["a"].arrays(), path.read_bytes()
    keras_memvit.load_task(BACKBONE, path)
    rng, outcomes = np.random.default_rng(0), Outcomes()
    for i in range(60 if length == "short" else MANY):
        path.write_bytes(mutate(content, rng))
        outcomes.read(
            i,
            lambda: keras_memvit.load_task(BACKBONE, path),
            lambda m: (
                m.specs == model.specs and same(m.task_layers["a"].arrays(), expected)
            ),
        )
    outcomes.check()


def read_store(path):
    """All that a store holds, view by view, and what it belongs to."""
    store = keras_memvit.StateStore(path)
    store.check(BACKBONE)
    rows = {
        f"view{view}": store.rows(range(len(store)), view)
        for view in range(store.num_views)
    }
    return {**store.targets, **rows}


def swap_shards(folder, rng):
    """Two shards change names, all their files or one."""
    one, other = rng.choice(sorted(p.stem for p in folder.glob("*.npy")), 2, False)
    for suffix in [[".npy"], [".npz"], [".json"], [".npy", ".npz", ".json"]][
        rng.integers(4)
    ]:
        first, second = (folder / f"{stem}{suffix}" for stem in (one, other))
        first.rename(folder / "x")
        second.rename(first)
        (folder / "x").rename(second)


def cut_shard(folder, rng):
    """A shard of other shape, whose checksum holds."""
    (stem,) = rng.choice(sorted(p.stem for p in folder.glob("*.npy")), 1)
    shard = np.load(folder / f"{stem}.npy")
    cut = [shard[:, :1], shard[:, :, :1], shard[:1], shard.astype("float64")]
    np.save(folder / f"{stem}.npy", cut[rng.integers(4)])
    store = json.loads((folder / "store.json").read_text())
    shard = writer.Shard(folder, int(stem[4]), int(stem[-5:]), store)
    card = json.loads(shard.path(".json").read_text())
    shard.path(".json").write_text(json.dumps({**card, **shard._checksums()}))


def damage_store(folder, rng):
    kind = rng.integers(10)
    if kind == 0:
        return swap_shards(folder, rng)
    if kind == 1:
        return cut_shard(folder, rng)
    files = sorted(folder.iterdir())
    if kind < 5:
        files = [file for file in files if file.suffix != ".npy"]
    file = files[rng.integers(len(files))]
    if kind == 9 and rng.integers(4) == 0:
        return file.unlink()
    file.write_bytes(mutate(file.read_bytes(), rng))


@pytest.mark.parametrize("length", [SHORT, LONG])
def test_damaged_stores(length, images, tmp_path):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    data = (images, {"a": np.arange(8) % 3, "b": np.arange(8) % 2})
    options = {"dtype": "float32", "views": 2, "verbose": 0}
    keras_memvit.precompute(BACKBONE, data, whole, **options)
    expected = read_store(whole)
    rng, outcomes = np.random.default_rng(0), Outcomes()
    for i in range(60 if length == "short" else max(MANY // 5, 100)):
        shutil.copytree(whole, damaged)
        damage_store(damaged, rng)
        outcomes.read(i, lambda: read_store(damaged), lambda s: same(s, expected))
        if i < 6:  # what is refused is repaired, up to a kernel's rounding
            keras_memvit.precompute(BACKBONE, data, damaged, **options)
            for name, value in read_store(damaged).items():
                np.testing.assert_allclose(value, expected[name], 1e-4, 1e-5)
        shutil.rmtree(damaged)
    outcomes.check()


def test_an_error_of_a_store_names_the_file_and_the_repair(images, tmp_path):
    keras_memvit.precompute(BACKBONE, (images,), tmp_path, dtype="float32", verbose=0)
    file = tmp_path / "view0-00001.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    store = keras_memvit.StateStore(tmp_path)
    store.rows([0, 1])  # of the first shard
    with pytest.raises(ValueError, match="view0-00001.npy is damaged.*`precompute`"):
        store.rows([4])
    (tmp_path / "store.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="store.json is damaged.*`precompute`"):
        keras_memvit.StateStore(tmp_path)


def test_a_damaged_card_does_not_make_a_store_another_backbone_s(images, tmp_path):
    """What shards say of themselves decides which of them count."""
    keras_memvit.precompute(BACKBONE, (images,), tmp_path, dtype="float32", verbose=0)
    (tmp_path / "store.json").write_text("{")
    other = make_backbone(seed=9)
    found = keras_memvit.precompute(
        other, (images,), tmp_path, dtype="float32", verbose=0
    )
    expected = keras_memvit.precompute(
        other, (images,), tmp_path / "new", dtype="float32", verbose=0
    )
    np.testing.assert_allclose(
        found.rows(range(8)), expected.rows(range(8)), 1e-4, 1e-5
    )


def test_a_store_of_an_older_version_is_read(images, tmp_path):
    store = keras_memvit.precompute(
        BACKBONE, (images,), tmp_path, dtype="float32", verbose=0
    )
    for file in tmp_path.glob("*.json"):
        card = json.loads(file.read_text())
        for key in ("view", "number", "store", "card_sha256"):
            card.pop(key, None)
        file.write_text(json.dumps(card))
    again = keras_memvit.StateStore(tmp_path)
    np.testing.assert_array_equal(again.rows(range(8)), store.rows(range(8)))


@pytest.mark.parametrize(
    "shape, message",
    [
        ([48000, 48000, 3], "at a file's word at most 16384"),
        ([32, 48], "image shape"),
        ([32, -48, 3], "image shape"),
        ([10**400, 16, 3], "at a file's word"),
        ([4096, 16, 3], "another backbone"),
    ],
)
def test_a_file_cannot_ask_for_an_enormous_image(shape, message, tmp_path):
    path = tmp_path / "a.safetensors"
    save_task(path)
    hostile(path, lambda card: card.update(image_shape=shape))
    outcomes = Outcomes()
    with pytest.raises(ValueError, match=message):
        keras_memvit.load_task(BACKBONE, path)
    outcomes.read(0, lambda: keras_memvit.load_task(BACKBONE, path), lambda m: False)
    outcomes.check()


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 10**9, "class_names": None},
        {"num_memory_tokens": 10**9},
        {"readout": {"name": "deep", "num_query_tokens": 10**9}},
        {"readout": {"name": "deep", "num_query_tokens": 10**15}},
        {"readout": {"name": "side", "rank": 10**9}},
    ],
)
def test_a_file_cannot_ask_for_an_enormous_task(change, tmp_path):
    path = tmp_path / "a.safetensors"
    save_task(path)
    hostile(path, lambda card: card["task"].update(change))
    outcomes = Outcomes()
    outcomes.read(0, lambda: keras_memvit.load_task(BACKBONE, path), lambda m: False)
    outcomes.check()


def hostile(path, change):
    """Changes a task file's card and makes its checksums right."""
    from safetensors import safe_open
    from safetensors.numpy import load_file
    from safetensors.numpy import save_file

    from keras_memvit.tasks.task_file import seal

    tensors = load_file(path)
    card = json.loads(safe_open(path, "numpy").metadata()["keras_memvit"])
    change(card)
    card = seal(card, tensors)
    save_file(tensors, path, metadata={"keras_memvit": json.dumps(card)})
