"""Bundled image sets, or a folder of class folders, as arrays to train and to test."""

import dataclasses
import pathlib
import re

import numpy as np
from PIL import Image

import keras_memvit


@dataclasses.dataclass
class TaskData:
    """One task: uint8 images (B, size, size, 3) and labels (B,), split in two."""

    name: str
    class_names: list
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def digits(size, num_train=None, num_test=None, seed=0):
    """Handwritten digits from scikit-learn: 1,797 images of 8x8, 10 classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = _resize_gray(data.images / 16, size)
    names = [str(name) for name in data.target_names]
    return split("digits", names, images, data.target, num_train, num_test, seed)


def faces(size, num_train=None, num_test=None, seed=0):
    """Faces from scikit-image: 100 faces, then 100 pieces of background, 25x25."""
    from skimage.data import lfw_subset

    images = _resize_gray(lfw_subset(), size)
    names, labels = ["face", "no face"], np.repeat([0, 1], 100)
    return split("faces", names, images, labels, num_train, num_test, seed)


def location(size, num_train=None, num_test=None, seed=0, columns=8):
    """In which column a shape is, one class each. Generated, see structured_data.

    Args:
        columns: int, a divisor of 16. Defaults to `8`.
    """
    import structured_data

    bins = structured_data.BINS
    numbers = np.arange((num_train or 384) + (num_test or 192)) % bins
    images = [
        structured_data.location(np.random.default_rng([seed, i]), number, size)
        for i, number in enumerate(numbers)
    ]
    images = np.stack([np.asarray(image) for image in images])
    names = [f"column {k + 1:02d}" for k in range(columns)]
    labels = numbers * columns // bins
    return split("location", names, images, labels, num_train, num_test, seed)


def folder(path, size, num_train=None, num_test=None, seed=0):
    """The user's own task: a folder that holds one folder of images per class.

    The task gets the folder's name. Files that cannot be used are listed in a
    warning. Where the folder has parts to train and to validate, they are joined.

    Raises:
        ValueError: `path` is not a folder, or holds fewer than two classes
            with at least two readable images each.
    """
    path = pathlib.Path(path).expanduser().resolve()
    if not path.is_dir():
        raise ValueError(
            "`data` must be a folder with one folder of images per class. "
            f"Received: data={path}"
        )
    found = keras_memvit.data.load(path, image_size=size, augment=None)
    parts = found.train.arrays(), found.validation.arrays()
    images, labels = map(np.concatenate, zip(*parts))
    name = _task_name(path.name)
    return split(name, found.class_names, images, labels, num_train, num_test, seed)


def split(name, class_names, images, labels, num_train=None, num_test=None, seed=0):
    """Shuffle and split; test and training set hold their share of every class.

    By default a quarter of the images is the test set, the rest is trained on.
    """
    counts = np.bincount(labels)
    if counts.min() < 2:
        raise ValueError(
            "Each class needs at least two images, one to train on and one to test "
            f"on. Received: {counts.min()} for class {class_names[counts.argmin()]!r}"
        )
    order = _stratified_order(labels, np.random.default_rng(seed))
    num_test = min(num_test or len(order) // 4, len(order) // 2)
    test, train = order[:num_test], order[num_test:][:num_train]
    labels = labels.astype("int32")
    return TaskData(
        name, class_names, images[train], labels[train], images[test], labels[test]
    )


def _stratified_order(labels, rng):
    """A random order in which every stretch holds its share of every class."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        place[indices] = np.arange(len(indices)) + rng.random(len(indices))
        place[indices] /= len(indices)
    return np.argsort(place)


def _resize(image, size):
    """Any Pillow image -> uint8 (size, size, 3)."""
    return np.asarray(image.convert("RGB").resize((size, size), Image.BICUBIC))


def _resize_gray(images, size):
    """Grey images (B, H, W) in [0, 1] -> uint8 (B, size, size, 3)."""
    images = np.round(255 * images).astype("uint8")
    return np.stack([_resize(Image.fromarray(image), size) for image in images])


def _task_name(folder_name):
    """A legal task name: letters, digits, `_` and `-`, and not "base"."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder_name).lstrip("_-")
    return name if name not in ("", "base") else "data"
