"""`data.check`: planted faults are found, and nothing else is."""

import json

import numpy as np
import pytest
from conftest import make_backbone
from PIL import Image

import keras_memvit
from keras_memvit.data import check
from keras_memvit.data.checks.alignment import aligned_distance
from keras_memvit.data.checks.hashes import close_pairs
from keras_memvit.data.checks.hashes import perceptual_hashes
from keras_memvit.data.checks.labels import disagreements
from keras_memvit.data.checks.labels import out_of_fold


def photo(seed, height=60, width=80):
    """A smooth picture with detail, uint8 `(height, width, 3)`."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype="uint8")
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Two parts of two classes, 12 and 4 different pictures a class."""
    for part, count, first in (("train", 12, 0), ("test", 4, 100)):
        for label in range(2):
            for i in range(count):
                file = tmp_path / part / "ab"[label] / f"{i:02}.png"
                save(file, photo(1000 * label + first + i))
    return tmp_path


def test_a_clean_folder_has_no_findings(folder):
    found = check(folder, min_images=12)
    assert found.num_findings == 0 and found.num_images == 32
    assert found.counts == {"train": {"a": 12, "b": 12}, "test": {"a": 4, "b": 4}}


def test_copies_are_found_whatever_was_done_to_them(folder):
    copies = {
        "exact.bmp": photo(0),  # the same pixels in another file
        "smaller.png": np.asarray(Image.fromarray(photo(1)).resize((50, 40))),
        "cropped.png": photo(2)[2:-3, 3:-1],
        "darker.png": (photo(3) * 0.8).astype("uint8"),
    }
    for name, pixels in copies.items():
        save(folder / "train" / "a" / name, pixels)
    save(folder / "train" / "a" / "packed.jpg", photo(4), quality=70)
    found = check(folder)
    pairs = {
        tuple(sorted(f.rsplit("/")[-1] for f in group.files)): group.kind
        for group in found.duplicates
    }
    assert pairs == {
        ("00.png", "exact.bmp"): "exact",
        ("01.png", "smaller.png"): "near",
        ("02.png", "cropped.png"): "near",
        ("03.png", "darker.png"): "near",
        ("04.png", "packed.jpg"): "near",
    }
    assert not found.leaks


def test_leaks_and_labels_that_contradict_each_other(folder):
    save(folder / "test" / "b" / "leak.jpg", photo(5), quality=70)
    (leak,) = check(folder).leaks
    assert leak.parts == ["test", "train"] or leak.parts == ["train", "test"]
    assert leak.disagrees and set(leak.classes) == {"a", "b"}
    assert leak.kind == "near" and 0 < leak.distance < 0.06


def test_pictures_that_only_resemble_each_other_are_no_copies():
    one = photo(0)
    other = one.copy()
    other[20:40, 30:50] = 255 - other[20:40, 30:50]  # a ninth of it
    colour = one[..., [1, 2, 0]]
    images = np.stack([one, other, colour, one[:, ::-1]])
    assert check((images, np.array([0, 1, 0, 1]))).duplicates == []


def test_the_distance_undoes_a_crop_and_a_gain():
    first = np.stack([photo(i, 32, 32) for i in range(3)])
    cropped = [Image.fromarray(photo(i, 64, 64)[3:61, 4:62]) for i in range(3)]
    second = np.stack([np.asarray(image.resize((32, 32))) * 0.7 for image in cropped])
    plain = [np.std(a - b) / np.std(b) for a, b in zip(first.astype(float), second)]
    found = aligned_distance(first, second)
    assert (found < 0.08).all() and (found < np.array(plain) / 3).all()
    assert (aligned_distance(first, first[[1, 2, 0]]) > 0.3).all()


def test_the_hash_is_the_cosine_transforms_signs():
    from scipy.fft import dctn

    pictures = np.stack([photo(i, 32, 32) for i in range(4)])
    for picture, found in zip(pictures, perceptual_hashes(pictures)):
        low = dctn(picture.mean(-1), norm="ortho")[:8, :8].ravel()[1:]
        np.testing.assert_array_equal(found > 0, low > np.median(low))


def test_close_pairs_are_those_of_the_hamming_distance():
    rng = np.random.default_rng(0)
    hashes = np.where(rng.random((50, 63)) > 0.5, 1, -1).astype("float32")
    expected = {
        (i, j)
        for i in range(50)
        for j in range(i + 1, 50)
        if np.sum(hashes[i] != hashes[j]) <= 25
    }
    assert {tuple(p) for p in close_pairs(hashes, 25, batch=7).tolist()} == expected
    assert expected


def test_damaged_files_odd_sizes_and_tiny_classes(folder):
    broken = folder / "train" / "a" / "broken.png"
    broken.write_bytes((folder / "train" / "a" / "00.png").read_bytes()[:200])
    (folder / "train" / "a" / "notes.txt").write_text("nothing")
    save(folder / "train" / "b" / "thumb.png", photo(7000, 8, 10))
    save(folder / "test" / "b" / "banner.png", photo(7001, 60, 600))
    save(folder / "train" / "c" / "single.png", photo(7002))
    found = check(folder)
    assert [damaged.file for damaged in found.damaged] == [str(broken)]
    assert {odd.file.rsplit("/")[-1] for odd in found.odd_sizes} == {
        "thumb.png",
        "banner.png",
    }
    tiny = {(few.name, few.part, few.count) for few in found.tiny_classes}
    assert tiny == {("c", "train", 1), ("c", "test", 0)}
    assert any("notes.txt" in path for path, _ in found.left_out)
    assert str(found).count("broken.png") == 1


def coloured(num, seed=0):
    """Two classes told apart by their colour, uint8 `(num, 32, 48, 3)`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 2
    images = rng.integers(0, 100, (num, 32, 48, 3))
    images[np.arange(num), :, :, 2 * labels] += 120
    return images.astype("uint8"), labels


def test_wrong_labels_and_outliers_are_found_with_a_backbone():
    images, labels = coloured(60)
    given = labels.copy()
    given[[5, 20]] = 1 - given[[5, 20]]
    images[41] = np.where(np.arange(48)[:, None] % 2, 255, [0, 255, 0])
    found = check((images, given), make_backbone(num_layers=1))
    assert {wrong.file for wrong in found.wrong_labels} >= {"image 5", "image 20"}
    for wrong in found.wrong_labels:
        assert wrong.suggested != wrong.label
        assert wrong.probability >= wrong.label_probability + 0.4
    assert found.outliers[0].file == "image 41"
    assert len(found.wrong_labels) <= 4 and len(found.outliers) <= 3


def test_features_stand_for_the_backbone_that_gave_them(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 8))
    labels = np.arange(40) % 2
    features[:, :6] += 6 * labels[:, None]
    for i in range(40):
        save(tmp_path / "ab"[labels[i]] / f"{i:02}.png", photo(i))
    order = np.argsort(labels, kind="stable")  # as folders are read
    (tmp_path / "a" / "06.png").write_bytes(b"damaged: its row is left out")
    (tmp_path / "b" / "11.png").rename(tmp_path / "a" / "99.png")
    features, wrong = features[order], features[11]
    features = np.concatenate([features[:20], [wrong], features[20:25], features[26:]])
    found = check(tmp_path, features=features)
    assert [w.file.rsplit("/")[-1] for w in found.wrong_labels] == ["99.png"]
    with pytest.raises(ValueError, match="`features` must have a row for each of 40"):
        check(tmp_path, features=features[1:])


def test_a_copy_never_judges_its_own_label():
    """Both copies of a picture have one wrong label, and lie in one fold."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 60))
    labels = np.arange(40) % 2
    features[:, 0] += 8 * labels
    features[1] = features[0]
    groups = np.arange(40)
    groups[1] = 0
    labels[[0, 1]] = 1
    for seed in range(3):
        likely = out_of_fold(features, labels, groups, 2, seed)
        assert {0, 1} <= set(disagreements(likely, labels).tolist())


def test_it_is_kept_as_json(tmp_path):
    images, labels = coloured(8)
    images[3] = images[0]
    found = check({"train": (images, labels), "test": (images[:1], labels[:1])})
    found.save(tmp_path / "check.json")
    kept = json.loads((tmp_path / "check.json").read_text())
    assert (
        kept == json.loads(found.to_json()) == json.loads(json.dumps(found.to_dict()))
    )
    assert kept["leaks"][0]["files"] == ["train 0", "train 3", "test 0"]
    assert kept["wrong_labels"] is None


def test_what_load_gives_can_be_checked():
    images, labels = coloured(20)
    images[3] = images[0]
    loaded = keras_memvit.data.load((images, labels), image_size=(32, 48), augment=None)
    found = check(loaded)
    assert found.num_images == 20
    assert len(found.duplicates) + len(found.leaks) == 1


@pytest.mark.parametrize(
    "source, message",
    [
        ("nowhere", "`source` must be a folder"),
        (3, "`source` must be a folder of class folders"),
        ((np.zeros((2, 8, 8)), [0, 1]), "uint8"),
        ((np.zeros((2, 8, 8), "uint8"), [0.5, 1]), "integers"),
        ({"train": np.zeros(3)}, r"`source\['train'\]` must be arrays"),
        ({}, "must hold images"),
    ],
)
def test_what_is_no_source_is_refused(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        check(source)


def test_a_folder_without_two_classes_or_images_is_refused(tmp_path):
    save(tmp_path / "one" / "only" / "a.png", photo(0))
    with pytest.raises(ValueError, match="at least two classes"):
        check(tmp_path / "one")
    for name in "ab":
        (tmp_path / "none" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="must hold images"):
        check(tmp_path / "none")
    for name in "ab":
        (tmp_path / "none" / name / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can be read"):
        check(tmp_path / "none")
    with pytest.raises(ValueError, match="`min_images`"):
        check(tmp_path / "one", min_images=0)
