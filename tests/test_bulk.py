"""What a worker of bulk work does, in this process: no Ray."""

import importlib
import json
import os
import sys

import keras
import numpy as np
import pytest
from bulk_jobs import OPTIONS
from bulk_jobs import make_model
from bulk_jobs import save
from conftest import make_backbone
from conftest import randomize
from PIL import Image
from processes import run_python
from server_client import png

import keras_memvit
from keras_memvit.data.answers import rows_of
from keras_memvit.data.bulk.answerer import Answerer
from keras_memvit.data.crops import resize
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image
from keras_memvit.data.predict_folder import predict_folder

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.backend_free


@pytest.fixture
def model():
    return make_model()


@pytest.fixture(autouse=True)
def ran(monkeypatch):
    """One worker, here, in place of Ray's; the units that it was given."""
    units = []

    def run(found, arguments, *_):
        units.extend(found)
        Answerer(*arguments)({"unit": [json.dumps(unit) for unit in found]})

    monkeypatch.setattr(sys.modules[predict_folder.__module__], "_run", run)
    return units


def answers(output):
    """`{(image, task, rank): (answer, size)}`, and `{image: error}`."""
    rows = parquet.read_table(output / "answers").to_pylist()
    found = [r for r in rows if r["error"] is None]
    found = {(r["image"], r["task"], r["rank"]): size_of(r) for r in found}
    assert len(found) == sum(r["error"] is None for r in rows)  # each once
    return found, {r["image"]: r["error"] for r in rows if r["error"] is not None}


def size_of(row):
    return row["answer"], row.get("probability") or row.get("value")


def check(output, model, names, images):
    found, errors = answers(output)
    specs = {spec.name: spec for spec in model.specs}
    expected = rows_of(names, model.predict(images, verbose=0), specs, OPTIONS["top"])
    expected = {(r["image"], r["task"], r["rank"]): size_of(r) for r in expected}
    assert found.keys() == expected.keys()
    for key, (answer, size) in expected.items():
        assert found[key][0] == answer
        np.testing.assert_allclose(found[key][1], size, rtol=1e-4, atol=1e-5)
    return errors


def test_pictures_that_come_later_are_answered_alone(model, images, tmp_path, ran):
    photos = save(images[:6], tmp_path / "photos")
    (photos / "1a.png").write_bytes(b"no picture")
    broken = predict_folder(photos, model, tmp_path / "out", **OPTIONS)
    assert [name for name, _ in broken] == [str(photos / "1a.png")]
    assert len(ran) == 2
    ran.clear()
    assert predict_folder(photos, model, tmp_path / "out", **OPTIONS) == broken
    assert ran == []
    late = photos / "0a.png"  # in a place before others
    Image.fromarray(images[6]).save(late)
    assert predict_folder(photos, model, tmp_path / "out", **OPTIONS) == broken
    assert ran == [{"files": [str(late)]}]
    names = [str(photos / f"{i}.png") for i in range(6)]
    errors = check(tmp_path / "out", model, [*names, str(late)], images[:7])
    assert list(errors.items()) == broken


def test_a_model_and_its_files_answer_alike(model, images, tmp_path):
    """What answered before is known, however it is given; another is refused."""
    photos, out = save(images, tmp_path / "photos"), tmp_path / "out"
    predict_folder(photos, model, out, **OPTIONS)
    before = answers(out)
    model.save(tmp_path / "model.keras")
    for spec in model.specs:
        keras_memvit.save_task(model, spec.name, tmp_path / f"{spec.name}.safetensors")
    predict_folder(photos, tmp_path / "model.keras", out, **OPTIONS)
    predict_folder(photos, tmp_path, out, backbone=model.backbone, **OPTIONS)
    assert answers(out) == before
    with pytest.raises(ValueError, match=r"differ in \['top'\]"):
        predict_folder(photos, model, out, **OPTIONS | {"top": 1})
    randomize(model.task_layers["birds"], seed=9)
    with pytest.raises(ValueError, match=r"differ in \['model'\]"):
        predict_folder(photos, model, out, **OPTIONS)


@pytest.mark.parametrize("column", ["bytes", "dicts"])
def test_parquet_files(column, model, images, tmp_path, ran):
    """Encoded images in row groups, as Hugging Face writes them too."""
    data = [png(image) for image in images]
    data[3] = b"no picture"
    data[5] = None
    if column == "dicts":
        data = [{"bytes": one, "path": "x.png"} for one in data]
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "part-0.parquet"
    table = pyarrow.table({"image": data, "id": [f"n{i}" for i in range(8)]})
    parquet.write_table(table, file, row_group_size=2)
    (tmp_path / "in" / "part-1.parquet").write_bytes(b"damaged")
    out = tmp_path / "out"
    broken = dict(predict_folder(tmp_path / "in", model, out, **OPTIONS))
    whole = [0, 1, 2, 4, 6, 7]
    check(out, model, [f"{file}#{i}" for i in whole], images[whole])
    damaged = f"{tmp_path / 'in' / 'part-1.parquet'}#0"
    assert set(broken) == {f"{file}#3", f"{file}#5", damaged}
    assert len(ran) == 5  # four row groups, and the damaged file
    for size in (1, 4, 100):  # says nothing of records
        predict_folder(tmp_path / "in", model, out, **OPTIONS | {"shard_size": size})
    assert len(ran) == 5
    check(out, model, [f"{file}#{i}" for i in whole], images[whole])
    out = tmp_path / "keys"
    predict_folder(file, model, out, key_column="id", **OPTIONS)
    check(out, model, [f"n{i}" for i in whole], images[whole])
    with pytest.raises(ValueError, match="`image_column` and `key_column`"):
        predict_folder(file, model, tmp_path / "x", image_column="jpg", **OPTIONS)


def test_tfrecords(model, images, tmp_path):
    tf = pytest.importorskip("tensorflow")
    file = tmp_path / "birds.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(file)) as records:
        for i, image in enumerate(images):
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in (("image/encoded", png(image)), ("id", b"n%d" % i))
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            records.write(example.SerializeToString())
    predict_folder(file, model, tmp_path / "out", **OPTIONS)
    errors = check(tmp_path / "out", model, [f"{file}#{i}" for i in range(8)], images)
    assert errors == {}
    os.truncate(file, file.stat().st_size - 10)  # the last record is damaged
    out = tmp_path / "keys"
    broken = predict_folder(file, model, out, key_column="id", **OPTIONS)
    check(out, model, [f"n{i}" for i in range(7)], images[:7])
    assert [name for name, _ in broken] == [f"{file}#7"]
    file = tmp_path / "odd.tfrecord"
    with tf.io.TFRecordWriter(str(file)) as records:
        records.write(example.SerializeToString())
        records.write(b"no example")  # whole, and of another kind
    whole = tmp_path / "whole.tfrecord"
    with tf.io.TFRecordWriter(str(whole)) as records:
        records.write(example.SerializeToString())
    out = tmp_path / "odd"
    broken = predict_folder([file, whole], model, out, **OPTIONS)
    check(out, model, [f"{file}#0", f"{whole}#0"], images[[7, 7]])
    ((name, reason),) = broken
    assert name == f"{file}#1" and "DecodeError" in reason


@pytest.mark.parametrize("error", [pyarrow.ArrowNotImplementedError, KeyError])
def test_any_error_of_a_record_file_is_its_own(
    error, model, images, tmp_path, monkeypatch
):
    for name in ("a", "b"):
        table = pyarrow.table({"image": [png(images[0])] * 2})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    original = parquet.ParquetFile

    def opened(path, *arguments, **options):
        if str(path).endswith("a.parquet"):
            raise error("of its own")
        return original(path, *arguments, **options)

    monkeypatch.setattr(parquet, "ParquetFile", opened)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    broken = predict_folder(files, model, tmp_path / "out", **OPTIONS)
    check(tmp_path / "out", model, [f"{files[1]}#{i}" for i in (0, 1)], images[[0, 0]])
    assert [name for name, _ in broken] == [f"{files[0]}#0"]
    error = ImportError
    with pytest.raises(ImportError, match="of its own"):
        predict_folder(files, model, tmp_path / "x", **OPTIONS)


def test_what_cannot_be_done_is_refused(model, images, tmp_path):
    photos = save(images, tmp_path / "photos")
    for match, arguments in {
        "outside of `source`": (photos, model, photos / "out"),
        "does not exist": (tmp_path / "nothing", model, tmp_path / "out"),
        "with `backbone`": (photos, "birds.safetensors", tmp_path / "out"),
    }.items():
        with pytest.raises(ValueError, match=match):
            predict_folder(*arguments)
    with pytest.raises(ValueError, match="`shard_size` must be"):
        predict_folder(photos, model, tmp_path / "out", shard_size=0)
    assert not (tmp_path / "out").exists()


OWN = """
import dataclasses

from keras_memvit import readouts


@readouts.register
@dataclasses.dataclass(frozen=True)
class OfAnother(readouts.Deep):
    name = "of_another_module"
"""
WORKER = """
import json, sys

sys.path.insert(0, sys.argv[1])
from keras_memvit.data.bulk.answerer import Answerer

Answerer(*json.loads(sys.argv[2]))({"unit": [sys.argv[3]]})
"""


def test_a_worker_imports_the_users_own_readouts(images, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own_readout_of_workers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "own")
    cls = importlib.import_module("own_readout_of_workers").OfAnother
    model = keras_memvit.build(make_backbone(), {"birds": 3}, readout=cls())
    module, out = sys.modules[predict_folder.__module__], tmp_path / "out"

    def elsewhere(units, arguments, *_):
        for unit in units:
            run_python(
                WORKER,
                keras.backend.backend(),
                tmp_path / "own",
                json.dumps(arguments),
                json.dumps(unit),
            )

    monkeypatch.setattr(module, "_run", elsewhere)
    photos = save(images[:2], tmp_path / "photos")
    predict_folder(photos, model, out, **OPTIONS)
    check(out, model, [str(photos / f"{i}.png") for i in range(2)], images[:2])
    monkeypatch.setattr(cls, "__module__", "__main__")
    with pytest.raises(ValueError, match="`model` has a readout.*a worker"):
        predict_folder(photos, model, tmp_path / "x", **OPTIONS)
    assert not (tmp_path / "x").exists()


def test_a_narrow_picture_of_great_height_does_not_grow(tmp_path, monkeypatch):
    """It was resized across first, to 224 times its size and more."""
    file = tmp_path / "narrow.png"
    tall = np.random.default_rng(0).integers(0, 256, (900_000, 1, 3), dtype="uint8")
    Image.fromarray(tall).save(file, compress_level=1)
    sizes, by_pillow = [], Image.Image.resize

    def noted(image, size, *arguments, **options):
        sizes.append(size)
        return by_pillow(image, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", noted)
    found = resize(read_image(file), (224, 224))
    assert sizes == [(1, 224), (224, 224)]
    assert (found == found[:, :1]).all() and found.std() > 0
    sizes.clear()
    resize(tall[:30_000], (224, 224))  # what fits is as it has been
    assert sizes == [(224, 30_000), (224, 224)]
    Image.fromarray(np.zeros((1_000_001, 1), "uint8")).save(file)
    with pytest.raises(UnreadableImage, match="1 x 1000001 pixels"):
        read_image(file)


def test_damaged_notes_are_named(model, images, tmp_path):
    photos, output = save(images[:1], tmp_path / "photos"), tmp_path / "out"
    predict_folder(photos, model, output, **OPTIONS)
    (output / "job.json").write_text("{")
    with pytest.raises(ValueError, match=r"`output` must.*job\.json.*empty folder"):
        predict_folder(photos, model, output, **OPTIONS)
