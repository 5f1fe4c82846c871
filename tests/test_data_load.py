"""`data.load`: every kind of image file, the same batches under one seed."""

import shutil
import warnings

import keras
import numpy as np
import pytest
from conftest import make_backbone
from PIL import Image

import keras_memvit
from keras_memvit.data import load

RED, WHITE = (255, 0, 0), (255, 255, 255)


def solid(mode, color, size=(20, 12)):
    return Image.new(mode, size, color)


def turned():
    """A picture that its EXIF says to turn: red above white, stored sideways."""
    image = solid("RGB", WHITE, (20, 20))
    image.paste(RED, (0, 0, 10, 20))  # left half: above, once turned by 90 degrees
    exif = Image.Exif()
    exif[0x0112] = 6
    return image, {"exif": exif.tobytes()}


KINDS = {
    "rgb.png": (solid("RGB", RED), {}, RED),
    "cmyk.jpg": (solid("CMYK", (0, 255, 255, 0)), {}, RED),
    "palette.png": (solid("RGB", RED).convert("P"), {}, RED),
    "transparent.png": (solid("RGBA", (255, 0, 0, 0)), {}, WHITE),
    "half.png": (solid("RGBA", (255, 0, 0, 128)), {}, (255, 127, 127)),
    "gray_alpha.png": (solid("LA", (0, 0)), {}, WHITE),
    "deep.png": (Image.fromarray(np.full((12, 20), 32896, "uint16")), {}, (128,) * 3),
    "one_bit.png": (solid("1", 1), {}, WHITE),
    "tiny.png": (solid("RGB", RED, (1, 1)), {}, RED),
    "long.png": (solid("RGB", RED, (3000, 2)), {}, RED),
    "moving.gif": (solid("RGB", RED), {"save_all": True}, RED),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_is_read_as_a_person_sees_it(name, tmp_path):
    image, options, color = KINDS[name]
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(2):
            image.save(tmp_path / label / f"{i}{name}", **options)
    for augment in (None, "inception", "pad"):
        found = load(tmp_path, image_size=(8, 10), augment=augment, seed=3)
        images, labels = found.train[0]
        assert images.shape == (2, 8, 10, 3) and images.dtype == "uint8"
        assert labels.dtype == "int32" and found.skipped == []
        if augment != "pad":  # whose margins are black
            np.testing.assert_allclose(
                images, np.broadcast_to(color, images.shape), atol=3
            )


def test_exif_rotation_is_undone(tmp_path):
    image, options = turned()
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(2):
            image.save(tmp_path / label / f"{i}.jpg", quality=95, **options)
    images, _ = load(tmp_path, image_size=20, augment=None).train[0]
    np.testing.assert_allclose(
        images[:, 2:8], np.broadcast_to(RED, (2, 6, 20, 3)), atol=9
    )
    assert images[:, 12:].min() > 245


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten and six pictures, each of its own gray."""
    for name, count in (("cats", 10), ("dogs", 6)):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(count):
            gray = 100 * (name == "dogs") + 5 * i
            path = tmp_path / name / ("deeper" if i % 2 else "") / f"{i}.png"
            solid("L", gray, (16, 16)).save(path)
    return tmp_path


def test_a_split_keeps_classes_and_every_image_once(folder):
    found = load(folder, image_size=16, augment=None, validation_split=0.3, seed=1)
    assert found.class_names == ["cats", "dogs"]
    (x, y), (vx, vy) = found.train.arrays(), found.validation.arrays()
    assert (np.bincount(y).tolist(), np.bincount(vy).tolist()) == ([7, 4], [3, 2])
    grays = sorted([*x[:, 0, 0, 0], *vx[:, 0, 0, 0]])
    assert grays == [5 * i for i in range(10)] + [100 + 5 * i for i in range(6)]
    np.testing.assert_array_equal(x[:, 0, 0, 0] >= 100, y == 1)
    again = load(folder, image_size=16, augment=None, validation_split=0.3, seed=1)
    np.testing.assert_array_equal(again.train[0][0], found.train[0][0])
    other = load(folder, image_size=16, augment=None, validation_split=0.3, seed=2)
    assert not np.array_equal(other.train[0][0], found.train[0][0])


def test_a_folder_may_have_its_own_part_to_validate(folder, tmp_path_factory):
    whole = tmp_path_factory.mktemp("parts")
    for part in ("train", "test"):
        shutil.copytree(folder, whole / part)
    (whole / "test" / "dogs" / "0.png").unlink()
    found = load(whole, image_size=16, augment=None, max_per_class=3)
    assert found.class_names == ["cats", "dogs"]
    labels = [part.arrays()[1].tolist() for part in (found.train, found.validation)]
    assert labels == [[0] * 3 + [1] * 3, [0] * 10 + [1] * 5]
    (whole / "test" / "dogs").rename(whole / "test" / "wolves")
    with pytest.raises(ValueError, match=r"in 'test' alone: \['wolves'\]"):
        load(whole)


def test_what_cannot_be_used_is_left_out_and_named(folder):
    whole = (folder / "cats" / "0.png").read_bytes()
    (folder / "cats" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "cats" / "text.jpg").write_text("no image")
    (folder / "cats" / "empty.png").touch()
    (folder / "cats" / "notes.txt").write_text("no image's suffix")
    (folder / "empty").mkdir()
    huge = Image.new("1", (10000, 9500))  # where Pillow warns by itself
    huge.save(folder / "dogs" / "huge.png")
    with pytest.warns(UserWarning, match="Left out 6 of what `source` holds") as said:
        found = load(folder, image_size=16)
    names = {file.rsplit("/", 1)[1] for file, _ in found.skipped}
    images = {"truncated.png", "text.jpg", "empty.png", "huge.png"}
    assert names == images | {"empty", "notes.txt"}
    assert all(file in str(said[0].message) for file, _ in found.skipped)
    assert "10000 x 9500 pixels" in str(said[0].message)
    assert len(found.train.arrays()[1]) + len(found.validation.arrays()[1]) == 16


@pytest.mark.parametrize("augment", ["inception", "pad"])
def test_crops_are_those_of_the_seed_and_the_epoch(folder, augment):
    def batches(seed, epoch):
        train = load(folder, image_size=16, augment=augment, seed=seed).train
        train.set_epoch(epoch)
        return train.ordered(augment)[0][0], train[0]

    np.testing.assert_array_equal(batches(0, 1)[1][0], batches(0, 1)[1][0])
    assert not np.array_equal(batches(0, 1)[1][1], batches(0, 2)[1][1])


def test_threads_do_not_change_what_is_learned(folder):
    histories = []
    for workers in (1, 2):
        keras.utils.set_random_seed(0)
        found = load(folder, image_size=(32, 48), batch_size=4)
        found.train.workers = workers
        model = keras_memvit.build(make_backbone(), {"pets": 2})
        model.compile()
        options = {"epochs": 3, "verbose": 0, "validation_data": found.validation}
        histories.append(model.fit(found.train, **options).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-4)


def test_views_of_a_store_are_other_crops_in_the_same_order(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (14, 40, 60), dtype="uint8")
    found = load((pictures, np.arange(14) % 2), image_size=(32, 48), batch_size=4)
    backbone = make_backbone()
    store = keras_memvit.precompute(
        backbone, found.train, tmp_path / "s", views=2, dtype="float32", verbose=0
    )
    labels = found.train.arrays()[1]
    np.testing.assert_array_equal(store.targets["labels"], labels)
    rows = range(len(labels))
    assert not np.array_equal(store.rows(rows, 0), store.rows(rows, 1))


def test_arrays_and_a_limit_per_class():
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype="uint8")
    found = load((images, np.arange(40) % 4), image_size=28, max_per_class=6)
    counts = np.bincount(found.train.arrays()[1]) + np.bincount(
        found.validation.arrays()[1]
    )
    assert counts.tolist() == [6] * 4
    x, _ = found.train.arrays()
    originals = {image.tobytes() for image in np.repeat(images[..., None], 3, -1)}
    assert all(image.tobytes() in originals for image in x)


def test_a_tensorflow_dataset(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    def examples(value):
        image = np.full((9, 9, 3), value, "uint8")
        return [(i, {"image": image, "label": i % 2}) for i in range(4)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name="spots",
            version="1.0.0",
            data_dir=tmp_path,
            split_datasets={"train": examples(10), "test": examples(20)},
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["no", "yes"]),
                }
            ),
            file_format="array_record",
            disable_shuffling=True,
        )
        found = load(builder, image_size=9, augment=None)
        (x, y), (vx, _) = found.train.arrays(), found.validation.arrays()
    assert found.class_names == ["no", "yes"]
    assert y.tolist() == [0, 1, 0, 1]
    assert (np.unique(x).tolist(), np.unique(vx).tolist()) == ([10], [20])


@pytest.mark.parametrize(
    "source, options, message",
    [
        (3, {}, "`source` must be a folder.*int: 3"),
        ((np.zeros((4, 8, 8)), np.zeros(4, int)), {}, "uint8.*float64"),
        ((np.zeros((4, 8, 8), "uint8"), np.zeros(3, int)), {}, r"shape \(4,\)"),
        (
            (np.zeros((4, 8, 8), "uint8"), np.zeros(4, int)),
            {},
            r"two classes.*1: \['0'\]",
        ),
        ((np.zeros((2, 8, 8), "uint8"), np.arange(2)), {}, "at least two images"),
        (None, {"augment": "mixup"}, r"\['inception', 'pad'\].*'mixup'"),
        (None, {"validation_split": 1.0}, "validation_split=1.0"),
    ],
)
def test_what_cannot_be_loaded_says_why(source, options, message):
    with pytest.raises(ValueError, match=message):
        load(source, **options)
