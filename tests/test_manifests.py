"""`data.load` of manifests and of arrays of any kind."""

import csv
import io
import warnings

import keras
import numpy as np
import pytest
from conftest import EAGER
from conftest import make_backbone
from PIL import Image

import keras_memvit
from keras_memvit.data import load

SIZE = (32, 48)
NAN = float("nan")
OPTIONS = {"image_size": SIZE, "augment": None, "shuffle": False}


def gray(i):
    """The picture of a number, uint8 `(32, 48, 3)`."""
    return np.full((*SIZE, 3), 10 * i, "uint8")


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, `images/0.png` and so on."""
    (tmp_path / "images").mkdir()
    for i in range(12):
        Image.fromarray(gray(i)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def write(folder, columns, rows, name="labels.csv"):
    path = folder / name
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",")
        writer.writerows([columns, *rows])
    return path


def images_of(rows):
    return [(f"images/{i}.png", *row) for i, row in enumerate(rows)]


def everything(found):
    """`{picture: label}`."""
    images, labels = found.train.arrays()
    return dict(zip((images[:, 0, 0, 0] // 10).tolist(), labels))


# === Manifests ===


@pytest.mark.parametrize("name", ["labels.CSV", "labels.tsv"])
def test_a_manifest_of_one_task(folder, name):
    rows = images_of([["cat", "dog"][i % 2]] for i in range(12))
    found = load(write(folder, ["image", "label"], rows, name), **OPTIONS)
    assert found.class_names == ["cat", "dog"] and found.skipped == []
    (spec,) = found.tasks
    assert (spec.name, spec.kind, spec.num_classes) == ("label", "single_label", 2)
    assert (found.train.num_images, found.validation.num_images) == (10, 2)
    images, labels = found.train[0]
    assert images.shape == (10, *SIZE, 3) and labels.dtype == "int32"
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] // 10 % 2)


def test_one_set_of_everything(folder):
    rows = images_of([k, ["train", "val"][k == "b"]] for k in "aab")
    path = write(folder, ["image", "label", "split"], rows[:1] * 2 + rows)
    found = load(path, validation_split=0, **OPTIONS)
    assert found.validation is None and found.train.num_images == 5
    with pytest.raises(ValueError, match=r"to validate alone: \['b'\]"):
        load(path, **OPTIONS)


def test_several_tasks_with_missing_cells_train_a_model(folder):
    rows = [
        ["a", "0.5", "red|round", "1|0|-1"],
        ["b", "", "red", "0|0|1"],
        ["", "2.5", "", ""],
        ["a", "1", "round", "1|1|1"],
        ["", "", "", ""],
    ]
    header = ["image", "animal", "size", "looks", "answers"]
    path = write(folder, header, images_of(rows * 2))
    with pytest.warns(UserWarning, match=r"images/4.png: it has no label"):
        found = load(path, validation_split=0, **OPTIONS)
    assert [(s.name, s.kind, s.num_classes, s.class_names) for s in found.tasks] == [
        ("animal", "single_label", 2, ("a", "b")),
        ("size", "regression", 1, None),
        ("looks", "multi_label", 2, ("red", "round")),
        ("answers", "multi_label", 3, None),
    ]
    assert found.class_names["looks"] == ["red", "round"]
    images, labels = found.train.arrays()
    np.testing.assert_array_equal(labels["animal"][:4], [0, 1, -1, 0])
    np.testing.assert_array_equal(labels["size"][:4, 0], [0.5, NAN, 2.5, 1])
    looks = [[1, 1], [1, 0], [-1, -1], [0, 1]]
    np.testing.assert_array_equal(labels["looks"][:4], looks)
    assert labels["answers"][:3].tolist() == [[1, 0, -1], [0, 0, 1], [-1] * 3]
    model = keras_memvit.build(make_backbone(num_layers=1), found.tasks)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=EAGER)
    logs = model.fit(found.train, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    scale = model.task_layers["size"].variables_by_name["target/scale"]
    np.testing.assert_allclose(scale, np.nanstd([0.5, 2.5, 1]), rtol=1e-5)


def test_parts_are_those_of_the_split_column(folder):
    parts = ["train", "TRAIN", "val", "train", "train", "test"]
    rows = images_of([str(i % 2), part] for i, part in enumerate(parts))
    path = write(folder, ["image", "label", "split"], rows)
    with pytest.warns(UserWarning, match="1 images of the split 'test'"):
        found = load(path, **OPTIONS)
    images, labels = found.validation.arrays()
    assert (images[0, 0, 0, 0], labels.tolist()) == (20, [0])
    assert found.train.num_images == 4
    rows = [row for row in rows if row[2] != "val"]
    found = load(write(folder, ["image", "label", "split"], rows), **OPTIONS)
    assert found.validation.arrays()[0][0, 0, 0, 0] == 50


def test_kinds_and_columns_can_be_said(folder):
    rows = images_of([str(i), "by me", "x"] for i in range(6))
    path = write(folder, ["image", "age", "note", "photo by"], rows)
    with pytest.raises(ValueError, match="column 'photo by', which cannot be a task"):
        load(path, **OPTIONS)
    found = load(path, columns=["age"], kind="regression", **OPTIONS)
    (spec,) = found.tasks
    assert (spec.name, spec.kind) == ("age", "regression")
    assert found.train[0][1].dtype == "float32"
    with pytest.raises(
        ValueError, match=r"columns.*\['age', 'note', 'photo by'\].*'a'"
    ):
        load(path, columns=["a"], **OPTIONS)
    with pytest.raises(ValueError, match=r"`kind`.*\['age'\].*\['note'\]"):
        load(path, columns=["age"], kind={"note": "regression"}, **OPTIONS)
    with pytest.raises(ValueError, match="`kind` must be 'auto' or one of"):
        load(path, kind="ranks", **OPTIONS)


def test_parquet_has_types_nulls_and_encoded_images(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    encoded = io.BytesIO()
    Image.fromarray(gray(7)).save(encoded, "PNG")
    images = [{"bytes": None, "path": f"images/{i}.png"} for i in range(3)]
    table = pyarrow.table(
        {
            "image": [*images, {"bytes": encoded.getvalue(), "path": None}],
            "animal": ["a", "b", None, "a"],
            "age": [1.5, None, 2.5, 3.5],
            "box": [[0.1, 0.2], [0.3, 0.4], None, [0.5, 0.6]],
        }
    )
    parquet.write_table(table, folder / "labels.parquet")
    found = load(folder / "labels.parquet", validation_split=0, **OPTIONS)
    kinds = [(spec.name, spec.kind, spec.num_classes) for spec in found.tasks]
    assert kinds[1:] == [("age", "regression", 1), ("box", "regression", 2)]
    images, labels = found.train.arrays()
    assert images[3, 0, 0, 0] == 70 and labels["animal"].tolist() == [0, 1, -1, 0]
    np.testing.assert_allclose(labels["box"][3], [0.5, 0.6])
    (folder / "labels.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="labels.parquet cannot be read as Parquet"):
        load(folder / "labels.parquet", **OPTIONS)


GOOD = [("images/0.png", "a"), ("images/1.png", "b")]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["picture", "label"], GOOD, r"must have a column 'image'.*\['picture', 'la"),
        (["image", "image"], GOOD, r"several columns of the names \['image'\]"),
        (["image;label"], [("0.png;a",)], r"column 'image'.*\['image;label'\]"),
        (["image"], [GOOD[0][:1]], r"`columns` must name columns of labels.*\[\]"),
        (["image", "label"], [], "must name images. Received: no row"),
        (["image", "label"], [*GOOD, ("a.png",)], "Received 1 in line 4"),
        (["image", "label"], [*GOOD, ("", "a")], "None in line 4 of labels.csv"),
        (
            ["image", "label"],
            [*GOOD, ("no.png", "a"), ("neither.png", "b")],
            "labels.csv names 2 images that are not there, first 'no.png' in line 4",
        ),
        (
            ["image", "age"],
            [("images/0.png", "nan")],
            "nan.*'age', line 2 of lab",
        ),
        (["image", "age"], [("images/0.png", "-inf")], "label -inf.*'age', line 2"),
        (["image", "a", "b"], [(*GOOD[0], ""), (*GOOD[1], "")], "no label in.*'b'"),
        (
            ["image", "label", "split"],
            [(*GOOD[0], "train"), (*GOOD[1], "tomorrow")],
            "'split'. Received 'tomorrow' in line 3",
        ),
        (["image", "label", "split"], [(*GOOD[0], "val")], "of the split 'train'"),
        (
            ["image", "box"],
            [("images/0.png", "0.5|1"), ("images/1.png", "0.5")],
            r"'box'.*of one length. Received \[0.5\], line 3 of labels.csv",
        ),
    ],
)
def test_a_bad_manifest_says_what_is_wrong_and_where(folder, header, rows, message):
    path = write(folder, header, rows)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        warnings.simplefilter("error")
        load(path, **OPTIONS)


def test_damaged_images_are_left_out(folder):
    (folder / "images" / "3.png").write_bytes(b"no picture")
    rows = images_of([str(i % 2)] for i in range(8))
    with pytest.warns(UserWarning, match="3.png: no whole image"):
        found = load(write(folder, ["image", "label"], rows), **OPTIONS)
    assert found.train.num_images + found.validation.num_images == 7


# === Arrays ===


def test_arrays_of_each_kind():
    images = np.stack([gray(i) for i in range(10)])
    rows = np.arange(20).reshape(10, 2) % 2
    values = np.linspace(0, 1, 10)
    for labels, kind, width in (
        (np.arange(10) % 3, "single_label", 3),
        (rows, "multi_label", 2),
        (rows.astype(bool), "multi_label", 2),
        (values, "regression", 1),
        (np.stack([values] * 3, 1), "regression", 3),
    ):
        found = load((images, labels), **OPTIONS)
        assert [(s.kind, s.num_classes) for s in found.tasks] == [(kind, width)]
        shape = (9, width) if kind != "single_label" else (7,)
        assert found.train[0][1].shape == shape
    found = load((images, {"a": np.arange(10) % 2, "b": values}), **OPTIONS)
    assert set(found.train[0][1]) == {"a", "b"}
    found = load((images, np.arange(10)), kind="regression", **OPTIONS)
    assert found.tasks[0].kind == "regression"
    names = np.array(["b", "a", "", "b", "a", "b", "a", "b", "a", "b"])
    for words in (names, names.astype(object)):
        (task,) = load((images, words), **OPTIONS).tasks
        assert task.class_names == ("a", "b")
    for labels, kind, message in (
        (np.full(10, ""), "auto", "strings that are not all empty"),
        (np.array([1, "a"] * 5, dtype=object), "auto", "integers or strings"),
        (rows + 1, "auto", r"integers of shape \(10,\)"),
        (values, "multi_label", r"0, 1 or -1 \(not known\) of shape \(10, C\)"),
        (np.full(10, np.inf), "auto", "finite numbers, or NaN for no label"),
    ):
        with pytest.raises(ValueError, match=message):
            load((images, labels), kind=kind, **OPTIONS)


def test_a_folder_has_classes_alone(folder):
    with pytest.raises(ValueError, match="`kind` must be 'auto' or 'single_label'"):
        load(folder, kind="regression", **OPTIONS)
    with pytest.raises(ValueError, match="`columns` must be None"):
        load(folder, columns=["a"], **OPTIONS)
