"""The generated data sets: the same under a seed, balanced, written whole."""

import hashlib
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import structured_data  # noqa: E402

COUNTS = {"orientation": 16, "location": 16, "count": 8}


def make(path, **options):
    return structured_data.make(path, 32, 16, image_size=32, **options)


def digest(folder):
    files = sorted(folder.rglob("*.png"))
    names = [str(file.relative_to(folder)) for file in files]
    content = b"".join(file.read_bytes() for file in files)
    return names, hashlib.sha256(content).hexdigest()


def test_a_seed_decides_every_byte(tmp_path):
    first, again, other = (
        make(tmp_path / name, seed=seed)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert digest(first) == digest(again)
    assert digest(first)[0] == digest(other)[0]
    assert digest(first)[1] != digest(other)[1]


@pytest.mark.parametrize("kind", COUNTS)
def test_classes_are_balanced_and_sort_in_order(kind, tmp_path):
    folder = make(tmp_path / "data") / kind
    for part, number in (("train", 32), ("test", 16)):
        classes = sorted(p.name for p in (folder / part).iterdir())
        assert classes == structured_data.KINDS[kind][1]
        found = [len(list((folder / part / name).iterdir())) for name in classes]
        assert found == [number // COUNTS[kind]] * COUNTS[kind]
    (image, *_) = (folder / "train").rglob("*.png")
    assert np.asarray(Image.open(image)).shape == (32, 32, 3)


def test_shapes_do_not_touch():
    rng = np.random.default_rng(0)
    placed = [
        p for p in (structured_data.place(rng, 8) for _ in range(20)) if p is not None
    ]
    assert placed
    for circles in placed:
        x, y, radius = circles.T
        apart = np.hypot(x[:, None] - x, y[:, None] - y)
        apart = apart - radius[:, None] - radius + 10 * np.eye(len(x))
        assert apart.min() > structured_data.GAP


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="`output` must be new or an empty folder"):
        make(tmp_path / "data")
    with pytest.raises(ValueError, match="num_train=8"):
        structured_data.make(tmp_path / "new", 8, 16)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
