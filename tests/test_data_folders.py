"""`data.load` on folders as people have them: each file is used, or named."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_memvit.data import class_folders
from keras_memvit.data import image_files
from keras_memvit.data import load
from keras_memvit.data import pictures


def picture(path, gray=100, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (gray,) * 3).save(path, **options)


def classes(folder, names=("cats", "dogs"), count=2):
    for k, name in enumerate(names):
        for i in range(count):
            picture(folder / name / f"{i}.png", 100 * k + i)
    return folder


def count(found):
    return found.train.num_images + found.validation.num_images


def load_and_name(folder):
    """What is found, and `{file name: reason}` of what is left out."""
    with pytest.warns(UserWarning, match="Left out"):
        found = load(folder, image_size=8, augment=None)
    return found, {os.path.basename(file): reason for file, reason in found.skipped}


@pytest.mark.parametrize(
    "train, held_out",
    [
        ("train", "valid"),
        ("Train", "VAL"),
        ("training", "validation"),
        ("TRAIN", "dev"),
    ],
)
def test_parts_are_known_by_any_usual_name(train, held_out, tmp_path):
    classes(tmp_path / train, count=3)
    classes(tmp_path / held_out, count=2)
    found = load(tmp_path, image_size=8, augment=None)
    assert found.class_names == ["cats", "dogs"]
    assert (found.train.num_images, found.validation.num_images) == (6, 4)


def test_a_test_part_beside_one_to_validate_is_named(tmp_path):
    for part in ("train", "val", "test"):
        classes(tmp_path / part)
    found, left_out = load_and_name(tmp_path)
    assert found.validation.examples[0][0].path.parts[-3] == "val"
    assert "'val' is there to validate" in left_out["test"]


@pytest.mark.parametrize(
    "paths",
    [
        ["train/cats/0.png", "train/dogs/0.png", "birds/0.png"],  # classes or parts
        ["train/cats/0.png", "train/dogs/0.png"],  # no part to validate
        ["train/0.png", "test/0.png"],  # two classes of such names?
        ["train/cats/0.png", "val/cats/0.png", "valid/cats/0.png"],  # two to validate
        ["cats/train/0.png", "cats/val/0.png", "dogs/train/0.png", "dogs/val/0.png"],
    ],
)
def test_what_could_mean_two_things_is_refused(paths, tmp_path):
    for path in paths:
        picture(tmp_path / path)
    with pytest.raises(ValueError, match="`source` could mean two things"):
        load(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    classes(tmp_path, ("bus", "train"))
    assert load(tmp_path, image_size=8).class_names == ["bus", "train"]


def test_hidden_files_and_folders_are_not_read_but_named(tmp_path):
    classes(tmp_path)
    picture(tmp_path / "cats" / ".ipynb_checkpoints" / "0-checkpoint.png")
    picture(tmp_path / "cats" / "._0.png")
    picture(tmp_path / ".cache" / "0.png")
    picture(tmp_path / "loose.png")
    found, left_out = load_and_name(tmp_path)
    assert count(found) == 4
    assert left_out == {
        ".ipynb_checkpoints": "hidden, with 1 files",
        "._0.png": "hidden",
        ".cache": "hidden, with 1 files",
        "loose.png": "in no class folder",
    }


def test_every_suffix_is_used_or_named(tmp_path):
    classes(tmp_path)
    picture(tmp_path / "cats" / "a.jfif", format="JPEG")
    picture(tmp_path / "cats" / "b.PPM", format="PPM")
    picture(tmp_path / "cats" / "without", format="PNG")
    (tmp_path / "cats" / "c.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (tmp_path / "cats" / "Makefile").write_text("all:")
    (tmp_path / "cats" / "boxes.csv").touch()
    (tmp_path / "cats" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "cats" / "pipe.png")
    found, left_out = load_and_name(tmp_path)
    assert count(found) == 4 + 3
    assert set(left_out) == {"c.heic", "Makefile", "boxes.csv", "lost.png", "pipe.png"}
    assert "register_heif_opener" in left_out["c.heic"]
    assert "no whole image of the formats" in left_out["Makefile"]


def test_links_are_followed_once(tmp_path):
    classes(tmp_path / "pets", ("cats",))
    classes(tmp_path / "elsewhere", ("dogs", "more"))
    (tmp_path / "pets" / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    (tmp_path / "pets" / "cats" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "pets" / "cats" / "round").symlink_to(tmp_path / "pets" / "cats")
    found, left_out = load_and_name(tmp_path / "pets")
    assert found.class_names == ["cats", "dogs"] and count(found) == 6
    assert "read already" in left_out.pop("round") and not left_out
    (tmp_path / "pets" / "cats" / "all").symlink_to(tmp_path / "elsewhere" / "dogs")
    with pytest.raises(ValueError, match="in both 'cats' and 'dogs'"):
        load(tmp_path / "pets")


def test_an_unreadable_folder_is_named_as_that(tmp_path, monkeypatch):
    classes(tmp_path, ("cats", "dogs", "owls"))
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("owls"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(image_files.os, "scandir", refusing)
    found, left_out = load_and_name(tmp_path)
    assert found.class_names == ["cats", "dogs"]
    assert left_out == {"owls": "PermissionError: Permission denied"}


def test_odd_names_are_read_and_shown_on_one_line(tmp_path):
    odd = ["b\nc", "\udcff", "d'\"{}", "é"]
    for name in odd:
        picture(tmp_path / name / "new\nline.png")
        picture(tmp_path / name / "\udce9.png")
        (tmp_path / name / "bad\n\udce9.png").write_text("no image")
    with pytest.warns(UserWarning, match="Left out 4") as said:
        found = load(tmp_path, image_size=8)
    assert sorted(found.class_names) == sorted(["b\\nc", "\\xff", "d'\"{}", "é"])
    assert "".join(found.class_names).encode() and str(said[0].message).encode()
    assert len(str(said[0].message).splitlines()) == 5
    assert all(os.path.exists(file) for file, _ in found.skipped)
    assert count(found) == 8


@pytest.mark.parametrize(
    "source, message",
    [
        ("~/no-such-pictures", r"does not exist"),
        ("pictures/Brids", r"does not exist"),
        ("brids", "folder or the name of a TensorFlow Datasets"),
        (__file__, "Received the file"),
    ],
)
def test_a_mistyped_path_says_so_in_short(source, message):
    if source == "brids":
        pytest.importorskip("tensorflow_datasets")
    with pytest.raises(ValueError, match=message) as said:
        load(source)
    assert len(str(said.value)) < 500


def test_the_home_folder_may_be_written_as_tilde(tmp_path, monkeypatch):
    classes(tmp_path / "pets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert count(load("~/pets", image_size=8)) == 4


def deep(value):
    return Image.fromarray(np.full((8, 8), value, "uint16"))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("value", [3, 255, 256, 40000])
def test_16_bits_have_one_scale(value, suffix, tmp_path):
    deep(value).save(tmp_path / f"x.{suffix}")
    pixels = pictures.read_image(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(pixels, np.full((8, 8, 3), value >> 8, "uint8"))


@pytest.mark.parametrize("dtype, reason", [("float32", "floats"), ("int32", "32-bit")])
def test_a_scale_that_no_file_says_is_refused(dtype, reason, tmp_path):
    Image.fromarray(np.ones((8, 8), dtype)).save(tmp_path / "x.tif")
    with pytest.raises(pictures.UnreadableImage, match=reason):
        pictures.read_image(tmp_path / "x.tif")


def test_files_that_vanish_in_an_epoch_are_replaced_and_named(tmp_path):
    classes(tmp_path, count=6)
    found = load(tmp_path, image_size=8, augment=None, batch_size=4, shuffle=False)
    train = found.train
    (read, _), (other, _) = train.examples[0], train.examples[3]
    read.path.unlink()
    other.path.write_bytes(other.path.read_bytes()[:40])
    with pytest.warns(UserWarning, match="can be read no more"):
        batches = [train[i] for i in range(len(train))]
    assert sum(len(y) for _, y in batches) == train.num_images
    for images, labels in batches:
        np.testing.assert_array_equal(images[:, 0, 0, 0] >= 100, labels == 1)
    assert set(train.lost) == {str(read.path), str(other.path)}
    shutil.rmtree(tmp_path)
    with (
        pytest.warns(UserWarning, match="can be read no more"),
        pytest.raises(ValueError, match="None of the 10 images can be read"),
    ):
        train[0]


def test_a_format_that_starts_programs_is_not_opened(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def start(*args, **kwargs):
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    header = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    )
    (tmp_path / "x.jpg").write_bytes(header)
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "EPS"  # Pillow alone would open it
    assert "no whole image" in class_folders._defect(tmp_path / "x.jpg")


def test_pixels_in_flight_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_ROOM", pictures.PixelRoom(100 * 100))
    most = []
    decode = pictures.to_rgb

    def spy(image):
        most.append(pictures._ROOM.used)
        return decode(image)

    monkeypatch.setattr(pictures, "to_rgb", spy)
    for k, name in enumerate(("a", "b")):
        for i in range(8):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (100, 60), 9 * k + i).save(tmp_path / name / f"{i}.png")
    assert count(load(tmp_path, image_size=8)) == 16
    assert max(most) <= 100 * 100 and len(most) == 16
