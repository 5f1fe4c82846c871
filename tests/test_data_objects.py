"""`data.load` of Hugging Face datasets and of tf.data objects."""

import io

import numpy as np
import pytest
from PIL import Image
from test_manifests import OPTIONS
from test_manifests import everything
from test_manifests import gray

from keras_memvit.data import load

# === Hugging Face datasets: what they can do, without the package ===


class ClassLabel:
    def __init__(self, names):
        self.names = names


class Sequence:
    def __init__(self, feature):
        self.feature = feature


class Value:
    dtype = "float32"


class HubDataset:
    def __init__(self, features, **columns):
        self.features, self.columns = features, columns
        self.column_names = list(columns)

    def __len__(self):
        return len(self.columns[self.column_names[0]])

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        return {name: values[key] for name, values in self.columns.items()}


class Streaming:
    features, column_names = {"image": None}, ["image"]


def hub_dataset(first, count):
    encoded = io.BytesIO()
    Image.fromarray(gray(first)).save(encoded, "PNG")
    images = [Image.fromarray(gray(first + i)) for i in range(count)]
    images[0] = {"bytes": encoded.getvalue(), "path": None}
    features = {
        "image": type("Image", (), {})(),
        "id": Value(),
        "animal": ClassLabel(["cat", "dog", "newt"]),
        "looks": Sequence(ClassLabel(["red", "round"])),
    }
    return HubDataset(
        features,
        image=images,
        id=[float(i) for i in range(count)],
        animal=[-1 if i == 1 else i % 2 for i in range(count)],
        looks=[[[], [0], [1, 0]][i % 3] for i in range(count)],
    )


def test_hugging_face_datasets():
    parts = {"train": hub_dataset(0, 5), "test": hub_dataset(5, 4)}
    found = load(parts, **OPTIONS)
    assert found.class_names["animal"] == ["cat", "dog", "newt"]
    images, labels = found.train[0]
    assert (images[:, 0, 0, 0] // 10).tolist() == list(range(5))
    assert labels["animal"].tolist() == [0, -1, 0, 1, 0]
    assert labels["looks"][:3].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert found.validation.num_images == 4
    one = load(parts["train"], columns=["id"], validation_split=0, **OPTIONS)
    assert one.tasks[0].kind == "regression" and one.train[0][1].shape == (5, 1)
    with pytest.raises(ValueError, match="random access.*streaming=True"):
        load(Streaming(), **OPTIONS)
    with pytest.raises(ValueError, match="split 'train'.*'other'"):
        load({"other": parts["train"]}, **OPTIONS)


# === tf.data ===


def test_tf_data_of_examples_and_of_batches():
    tf = pytest.importorskip("tensorflow")
    images = np.stack([gray(i) for i in range(8)])
    labels = np.arange(8) % 2
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    expected = everything(load((images, labels), validation_split=0, **OPTIONS))
    floats = dataset.batch(3).map(lambda x, y: (tf.cast(x, "float32"), y))
    for source in (dataset, dataset.batch(3)):
        assert everything(load(source, validation_split=0, **OPTIONS)) == expected
    found = load((dataset.batch(3), floats.skip(1)), **OPTIONS)
    assert (found.train.num_images, found.validation.num_images) == (8, 5)
    named = tf.data.Dataset.from_tensor_slices(
        {"image": images, "a": labels, "b": labels / 2}
    )
    assert [spec.name for spec in load(named, **OPTIONS).tasks] == ["a", "b"]
    with pytest.raises(ValueError, match="endless tf.data.Dataset"):
        load(dataset.repeat(), **OPTIONS)
    scaled = dataset.map(lambda x, y: (tf.cast(x, "float32") / 255, y))
    with pytest.raises(ValueError, match="floats from 0 to 255"):
        load(scaled, **OPTIONS)
