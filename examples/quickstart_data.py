"""The quickstart's data: two bundled image sets, or a folder of class folders."""

import dataclasses
import pathlib
import re

import numpy as np
from PIL import Image
from PIL import ImageOps


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
    names, labels = ["no face", "face"], np.repeat([1, 0], 100)
    return split("faces", names, images, labels, num_train, num_test, seed)


def folder(path, size, num_train=None, num_test=None, seed=0):
    """The user's own task: a folder that holds one folder of images per class.

    The task gets the folder's name. Files that Pillow cannot read are skipped
    and listed.

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
    skipped, by_class = [], {}
    for class_folder in _visible(path.iterdir()):
        if class_folder.is_dir():
            by_class[class_folder.name] = _read_images(class_folder, size, skipped)
    if skipped:
        names = ", ".join(str(file.relative_to(path)) for file in skipped)
        print(f"Skipped {len(skipped)} unreadable files: {names}")
    by_class = {name: images for name, images in by_class.items() if images}
    if len(by_class) < 2:
        raise ValueError(
            "`data` must hold at least two folders with readable images, one per "
            f"class. Received: data={path} with images in {list(by_class)}"
        )
    images = np.concatenate(list(by_class.values()))
    labels = np.repeat(np.arange(len(by_class)), [len(i) for i in by_class.values()])
    name = _task_name(path.name)
    return split(name, list(by_class), images, labels, num_train, num_test, seed)


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


def _read_images(class_folder, size, skipped):
    """Read all images below a folder; append the files that fail to `skipped`."""
    images = []
    for file in _visible(class_folder.rglob("*")):
        if not file.is_file():
            continue
        try:
            with Image.open(file) as image:
                images.append(_resize(ImageOps.exif_transpose(image), size))
        except Exception:  # Pillow's decoders raise whatever they meet
            skipped.append(file)
    return images


def _visible(paths):
    return sorted(path for path in paths if not path.name.startswith("."))


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
