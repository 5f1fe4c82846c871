"""A store of pictures that several workers fill, in this process: no Ray."""

import io
import json
import sys

import numpy as np
import pytest
from bulk_jobs import save
from conftest import make_backbone

import keras_memvit
from keras_memvit.data.bulk.part_batches import PartBatches
from keras_memvit.data.bulk.verdicts import Verdicts
from keras_memvit.data.class_folders import ImageFile
from keras_memvit.data.class_folders import defects
from keras_memvit.data.precompute_folder import _precompute
from keras_memvit.data.precompute_folder import _run
from keras_memvit.data.precompute_folder import precompute_folder
from keras_memvit.states import writer

pytestmark = pytest.mark.backend_free


class Read(ImageFile):
    """Counts what is read."""

    names = []

    def __call__(self):
        Read.names.append(self.path.name)
        return super().__call__()


def test_a_process_reads_its_own_images_alone(images, tmp_path, monkeypatch):
    """And those of its shards that are damaged, when it is called again."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 2 * 2 * 7 * 32 * 4)  # two images
    monkeypatch.setattr(Read, "names", [])
    photos = save(images, tmp_path / "photos")
    backbone, path = make_backbone(), tmp_path / "states"
    examples = [(Read(photos / f"{i}.png"), i % 2) for i in range(8)]

    def fill(index):
        Read.names.clear()
        data = PartBatches(examples, (32, 48), "bilinear", 3, 2)
        options = {"dtype": "float32", "process": (index, 2), "verbose": 0}
        store = keras_memvit.precompute(backbone, data, path, **options)
        return store, sorted(int(name[0]) for name in Read.names)

    assert fill(0) == (None, [0, 1, 4, 5])
    store, read = fill(1)
    assert read == [2, 3, 6, 7]
    assert fill(0)[1] == []
    with open(path / "view0-00002.npy", "r+b") as file:
        file.seek(-4, io.SEEK_END)
        file.write(b"1234")
    assert fill(0)[1] == [4, 5]
    alone = keras_memvit.precompute(
        backbone, (images, np.arange(8) % 2), tmp_path / "b", dtype="float32", verbose=0
    )
    store = keras_memvit.StateStore(path)
    np.testing.assert_allclose(store.rows(range(8)), alone.rows(range(8)), atol=1e-4)
    np.testing.assert_array_equal(store.targets["labels"], alone.targets["labels"])


@pytest.fixture
def here(monkeypatch):
    """`precompute_folder` by two workers in turn, here; the files looked at."""
    looked = []

    def find(_, files):
        looked.extend(file.name for file in files)
        return [(str(file), why) for file, why in defects(files).items()]

    def run(_, arguments, workers, __):
        backbone, data, path, dtype = arguments
        for i in range(workers):
            _precompute(backbone, data, path, dtype, (i, workers))

    module = sys.modules[precompute_folder.__module__]
    monkeypatch.setattr(writer, "SHARD_BYTES", 2 * 2 * 7 * 32 * 4)  # two images
    monkeypatch.setattr(Verdicts, "_find", find)
    monkeypatch.setattr(module, "connect", lambda: None)
    monkeypatch.setattr(module, "count_workers", lambda *_: 2)
    monkeypatch.setattr(module, "_run", run)
    return looked


def test_a_store_is_of_one_folder(images, tmp_path, here):
    backbone = make_backbone()

    def fill(folder):
        path = tmp_path / "states"
        return precompute_folder(tmp_path / folder, backbone, path, dtype="float32")

    photos = save(images, tmp_path / "photos")
    store = fill("photos")
    assert store.num_images == 8
    photos.rename(tmp_path / "moved")  # the same pictures elsewhere
    assert fill("moved").num_images == 8
    save(images, tmp_path / "others")  # as many, of which one is another
    (tmp_path / "others" / "3.png").rename(tmp_path / "others" / "9.png")
    with pytest.raises(ValueError, match=r"(?s)`source` must.*3\.png.*9\.png"):
        fill("others")
    (tmp_path / "states" / "list.jsonl").unlink()
    with pytest.raises(ValueError, match="did not begin"):
        fill("moved")
    with pytest.raises(ValueError, match="`dtype` must be"):
        precompute_folder(tmp_path / "moved", backbone, tmp_path / "x", dtype="half")


def test_a_store_has_one_resizing(images, tmp_path, here):
    """That of a model's tasks; lists of the default are as they ever were."""
    photos, path = save(images, tmp_path / "photos"), tmp_path / "states"
    backbone = make_backbone()

    def fill(resizing):
        spec = keras_memvit.TaskSpec("a", 2, resizing=resizing)
        model = keras_memvit.build(backbone, spec)
        return precompute_folder(photos, model, path, dtype="float32")

    fill("bicubic")
    assert '{"resizing": "bicubic"}' in (path / "list.jsonl").read_text()
    assert fill("bicubic").num_images == 8
    with pytest.raises(ValueError, match="missing:.*bicubic"):
        fill("bilinear")


def test_a_file_that_changes_is_named_and_looked_at_again(
    images, tmp_path, here, monkeypatch
):
    photos = save(images, tmp_path / "photos")
    backbone = make_backbone()
    broken, path = photos / "5.png", tmp_path / "states"
    whole = broken.read_bytes()

    def fill():
        here.clear()
        return precompute_folder(photos, backbone, path, dtype="float32")

    module = sys.modules[precompute_folder.__module__]
    claimed = module.claim_images

    def damaged_meanwhile(*arguments):
        claimed(*arguments)
        broken.write_bytes(b"no picture")

    with monkeypatch.context() as patch:
        patch.setattr(module, "claim_images", damaged_meanwhile)
        with pytest.raises(ValueError, match=rf"`source` must.*{broken}.*no whole"):
            fill()
    assert len(here) == 8
    named = pytest.warns(UserWarning, match=rf"{broken}: no whole image")
    with named, pytest.raises(ValueError, match=r"`source` must.*missing: .*5\.png"):
        fill()
    assert here == ["5.png"]
    broken.write_bytes(whole)
    assert fill().num_images == 8
    assert here == ["5.png"]
    fill()
    assert here == []
    (path / "images.jsonl").write_text("half a li")  # damaged: all are looked at again
    assert fill().num_images == 8
    assert len(here) == 8
    rows = map(json.loads, (path / "images.jsonl").read_text().splitlines())
    assert {row["image"]: row["error"] for row in rows} == {
        str(photos / f"{i}.png"): None for i in range(8)
    }


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_all_workers_end_with_the_call(error):
    ended = []

    class Ray:
        """Three jobs, none of which ends well."""

        put = staticmethod(lambda data: data)
        remote = staticmethod(lambda function: Ray)
        options = staticmethod(lambda **options: Job)

        @staticmethod
        def get(jobs):
            raise error("the first")

        @staticmethod
        def cancel(job, force):
            ended.append((job, force))

    class Job:
        remote = staticmethod(lambda *arguments: arguments[-1])

    with pytest.raises(error, match="the first"):
        _run(Ray, ("backbone", [], "path", "int8"), 3, {})
    assert ended == [((i, 3), True) for i in range(3)]
