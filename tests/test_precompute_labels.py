"""The labels in a store are those of its images, in every pass and every call."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.states import writer

LABELS = np.arange(8) % 3


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Three images a shard in float32."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 3 * 2 * 7 * 32 * 4)


def store(data, path, **options):
    options = {"dtype": "float32", "verbose": 0, **options}
    return keras_memvit.precompute(make_backbone(), data, path, **options)


class Shuffled(keras.utils.PyDataset):
    """Another order in each pass, and images that `augment` changes."""

    def __init__(self, images, labels, augment=None):
        super().__init__()
        self.images, self.labels = images, labels
        self.rng = np.random.default_rng(0)
        self.augment = augment
        self.permutation = self.rng.permutation

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 0:
            self.order = self.permutation(8)
        rows = self.order[4 * index : 4 * index + 4]
        images = self.images[rows]
        images = self.augment(images, self.rng) if self.augment else images
        return images, self.labels[rows]


def noise(images, rng):
    return images.astype("float32") + rng.random(images.shape, "float32")


def mirror_some(images, rng):
    mirrored = rng.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def test_a_shuffled_data_set_has_no_views(images, tmp_path):
    data = Shuffled(images, LABELS, noise)
    with pytest.raises(ValueError, match=r"same order.*shuffling off.*\['labels'\]"):
        store(data, tmp_path, views=2)
    rng = np.random.default_rng(0)  # one pass is whole, and has its own labels
    order = rng.permutation(8)
    one = store(Shuffled(images, LABELS), tmp_path / "one")
    np.testing.assert_array_equal(one.targets["labels"], LABELS[order])


@pytest.mark.parametrize("augment", [None, mirror_some])
def test_views_are_not_paired_by_labels_alone(augment, images, tmp_path):
    data = Shuffled(images, np.zeros(8, "int64"), augment)
    with pytest.raises(ValueError, match=r"same images in the same order.* of view 1"):
        store(data, tmp_path, views=2)


def test_images_that_change_in_place_are_views(images, tmp_path):
    """Doubles among them too, one of which may be mirrored as the other was."""
    images = images[[0, 1, 2, 3, 0, 1, 6, 7]]
    for name, augment in (("noise", noise), ("mirror", mirror_some)):
        data = Shuffled(images, LABELS, augment)
        data.permutation = np.arange
        made = store(data, tmp_path / name, views=3)
        assert (made.num_images, made.num_views) == (8, 3)


def test_a_second_call_with_other_labels_is_refused(images, tmp_path):
    store((images, LABELS), tmp_path)
    again = store((images, LABELS.astype("int64")), tmp_path)
    np.testing.assert_array_equal(again.targets["labels"], LABELS)
    with pytest.raises(ValueError, match=r"empty folder. Received others of \['labels"):
        store((images, LABELS[::-1]), tmp_path)
    with pytest.raises(ValueError, match=r"others of \['sample_weight'\]"):
        store((images, LABELS, np.ones(8, "float32")), tmp_path)
    with pytest.raises(ValueError, match=r"\['labels', 'labels/a'\]"):
        store((images, {"a": LABELS}), tmp_path)


def test_a_data_set_that_repeats_for_ever_is_refused(images, tmp_path):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(4)
    with pytest.raises(ValueError, match=r"leave out `.repeat\(\)`"):
        store(data.repeat(), tmp_path)
    assert len(store(data.repeat(2), tmp_path)) == 16


def test_an_endless_data_set_of_keras_is_refused(images, tmp_path):
    class Endless(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return images, LABELS

    with pytest.raises(ValueError, match="endless Endless"):
        store(Endless(), tmp_path)


def test_scaled_images_are_spoken_of(images, tmp_path):
    data = Shuffled(images / np.float32(255), LABELS)
    with pytest.warns(UserWarning, match=r"Images must be in \[0, 255\]"):
        store(data, tmp_path)


def test_images_may_come_alone(images, tmp_path):
    alone = store(images, tmp_path / "alone")
    labelled = store((images, LABELS), tmp_path / "labelled")
    assert alone.labels is None and len(alone) == 8
    np.testing.assert_array_equal(alone.rows(range(8)), labelled.rows(range(8)))
