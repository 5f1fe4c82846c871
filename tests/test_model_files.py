"""Files of models: written whole, and read as from a stranger."""

import io
import json
import os
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest
from conftest import make_backbone
from damage import Outcomes
from damage import mutate
from damage import same

import keras_memvit

GOLDEN = pathlib.Path(__file__).parent / "golden"
MANY = int(os.environ.get("KERAS_MEMVIT_DAMAGED", 200))


def make_model():
    return keras_memvit.build(make_backbone(num_layers=1), {"a": 3})


def fails_in_the_middle(monkeypatch):
    def save(self, store):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.layers.LayerNormalization, "save_own_variables", save)


@pytest.mark.parametrize("make", [make_model, lambda: make_backbone(num_layers=1)])
def test_a_save_that_fails_leaves_the_old_file(make, tmp_path, monkeypatch):
    path = tmp_path / "x.keras"
    make().save(path)
    before = path.read_bytes()
    with monkeypatch.context() as context:
        fails_in_the_middle(context)
        with pytest.raises(KeyboardInterrupt):
            make().save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.keras"]
    make().save(str(path))
    assert len(keras_memvit.load_model(path).weights) == len(make().weights)
    assert os.listdir(tmp_path) == ["x.keras"]


def test_weights_and_folders_are_written_whole(tmp_path):
    model = make_model()
    for _ in range(2):
        model.save_weights(tmp_path / "x.weights.h5")
        model.save(tmp_path / "folder", zipped=False)
    assert sorted(os.listdir(tmp_path)) == ["folder", "x.weights.h5"]
    other = make_model()
    other.load_weights(tmp_path / "x.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "folder")
    for found in (other, loaded):
        for weight, expected in zip(found.get_weights(), model.get_weights()):
            np.testing.assert_array_equal(weight, expected)
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "nowhere" / "x.keras")


def test_what_was_saved_is_loaded(images, tmp_path):
    model = make_model()
    model.compile()
    model.fit(images, np.arange(8) % 3, verbose=0)
    for saved in (model, model.backbone):
        saved.save(tmp_path / "x.keras")
        loaded = keras_memvit.load_model(tmp_path / "x.keras")
        assert type(loaded) is type(saved)
        for weight, expected in zip(loaded.get_weights(), saved.get_weights()):
            np.testing.assert_array_equal(weight, expected)
    unmasked = keras_memvit.build(model.backbone, {"a": 2}, attention="unmasked")
    unmasked.save(tmp_path / "x.keras")
    assert keras_memvit.load_model(tmp_path / "x.keras").attention == "unmasked"


@pytest.mark.filterwarnings("ignore:.*[Oo]ptimizer")
def test_files_of_the_former_layout_are_loaded():
    for name in ("jax.keras", "jax_unmasked.keras"):
        assert keras_memvit.load_model(GOLDEN / name).specs


def rewritten(path, config=None, weights=None, compression=zipfile.ZIP_STORED):
    """The file with its config and its weights changed in place, checksums right."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        content = json.loads(parts["config.json"])
        config(content["config"])
        parts["config.json"] = json.dumps(content).encode()
    if weights is not None:
        file = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(file, "r+") as root:
            names = []
            root.visititems(
                lambda n, x: names.append(n) if isinstance(x, h5py.Dataset) else None
            )
            weights(root, names)
        parts["model.weights.h5"] = file.getvalue()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def put_nan(root, names):
    name = next(n for n in names if root[n].ndim > 1)
    root[name][0] = np.nan


def put_bomb(root, names, **options):
    """A weight of 8 GB in a few kB."""
    del root[names[0]]
    root.create_dataset(names[0], (1 << 31,), "float32", chunks=(1 << 20,), **options)


def put_link(root, names):
    del root[names[0]]
    root[names[0]] = h5py.ExternalLink("/etc/passwd", "x")


def backbone_of(config):
    return config["backbone"]["config"]


HOSTILE = {
    "nan": ({"weights": put_nan}, "is not finite"),
    "bomb": ({"weights": put_bomb}, "not all in the file"),
    "gzip": (
        {"weights": lambda r, n: put_bomb(r, n, compression="gzip")},
        "not all in the file",
    ),
    "link": ({"weights": put_link}, "in another file"),
    "wide": (
        {"config": lambda c: backbone_of(c).update(hidden_dim=10**6)},
        "asks for at least",
    ),
    "large": (
        {"config": lambda c: backbone_of(c).update(image_shape=[48000, 48000, 3])},
        "asks for at least",
    ),
    "deep": (
        {"config": lambda c: backbone_of(c).update(num_layers=10**9)},
        "asks for at least",
    ),
    "classes": (
        {"config": lambda c: c["tasks"][0].update(num_classes=10**9)},
        "asks for at least",
    ),
    "readout": (
        {
            "config": lambda c: c["tasks"][0].update(
                readout={"name": "side", "rank": 10**9}
            )
        },
        "asks for at least",
    ),
    "adapter": (
        {"config": lambda c: c["tasks"][0].update(adapter="lora", adapter_rank=10**9)},
        "asks for at least",
    ),
    "answer": (
        {
            "config": lambda c: c.update(
                answer={
                    "method": "ridge",
                    "tasks": {"a": 3},
                    "width": 64,
                    "num_random_features": 10**9,
                    "unknown": False,
                }
            )
        },
        "asks for at least",
    ),
    "no_count": (
        {"config": lambda c: backbone_of(c).update(hidden_dim="1")},
        "config is not valid",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, tmp_path):
    path = tmp_path / "x.keras"
    make_model().save(path)
    changes, message = HOSTILE[name]
    rewritten(path, **changes)
    with pytest.raises(ValueError, match=f"x.keras cannot be loaded.*{message}"):
        keras_memvit.load_model(path)
    outcomes = Outcomes()
    outcomes.read(name, lambda: keras_memvit.load_model(path), lambda m: False)
    outcomes.check()


def test_a_zip_bomb_and_other_models_are_refused(tmp_path):
    path = tmp_path / "x.keras"
    make_model().save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/x", bytes(50 << 20))
    with pytest.raises(ValueError, match="much larger than the file"):
        keras_memvit.load_model(path)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(ValueError, match="of the class 'Sequential'"):
        keras_memvit.load_model(path)
    with pytest.raises(ValueError, match="must be a .keras file"):
        keras_memvit.load_model(tmp_path / "nothing.keras")


@pytest.mark.parametrize(
    "length", ["short", pytest.param("long", marks=pytest.mark.large)]
)
def test_damaged_files_of_models(length, tmp_path):
    path = tmp_path / "x.keras"
    model = make_model()
    model.save(path)
    content, expected = path.read_bytes(), as_arrays(model)
    keras_memvit.load_model(path)
    rng, outcomes = np.random.default_rng(0), Outcomes()
    for i in range(20 if length == "short" else MANY):
        path.write_bytes(mutate(content, rng))
        outcomes.read(
            i,
            lambda: keras_memvit.load_model(path),
            lambda m: same(as_arrays(m), expected),
        )
    outcomes.check()


def as_arrays(model):
    return {f"{i}": weight for i, weight in enumerate(model.get_weights())}
