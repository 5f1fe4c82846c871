"""`check`: what is wrong with a data set."""

import os
from typing import Any

import numpy as np

from keras_memvit.data.checks.duplicates import duplicate_groups
from keras_memvit.data.checks.features import features_of
from keras_memvit.data.checks.findings import Damaged
from keras_memvit.data.checks.findings import DataCheck
from keras_memvit.data.checks.findings import Duplicates
from keras_memvit.data.checks.findings import OddSize
from keras_memvit.data.checks.findings import Outlier
from keras_memvit.data.checks.findings import TinyClass
from keras_memvit.data.checks.findings import WrongLabel
from keras_memvit.data.checks.gather import gather
from keras_memvit.data.checks.labels import disagreements
from keras_memvit.data.checks.labels import out_of_fold
from keras_memvit.data.checks.looks import look_at
from keras_memvit.data.checks.outliers import far_rows
from keras_memvit.data.checks.outliers import neighbour_distances
from keras_memvit.data.checks.sizes import odd_sizes

FEWEST = 4  # images that wrong labels and outliers are looked for among


def check(
    source: Any,
    backbone: Any = None,
    *,
    features: np.ndarray | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 32,
    min_images: int = 10,
    seed: int = 0,
    verbose: int = 0,
) -> DataCheck:
    """Looks for what is wrong with labelled images, before anything is trained.

    Damaged files; pictures that are there twice, exactly or nearly, inside a part or
    across train and test; tiny classes and odd sizes. With a backbone also labels that
    are probably wrong and pictures that resemble no other. Nothing is changed.

    Args:
        source: a folder of class folders, or of parts (`train`, `val`, `test`) of
            such; arrays `(images, labels)`, uint8 `(n, h, w, 3)` or `(n, h, w)`; a dict
            of such by part; a `LabelledImages`; or what else `data.load` takes.
        backbone: what `build` takes; needs scikit-learn.
        features: in place of `backbone`, what it said of the images, `(n, F)` in their
            order, part after part.
        image_size: int or `(height, width)` for the backbone. Defaults to its own.
        batch_size: int, for the backbone.
        min_images: int. A class with fewer images in a part is tiny. A part to
            validate or test may have a fifth of it.
        seed: int, orders the folds of the search for wrong labels.
        verbose: int. 1 = a progress bar of the backbone's pass.

    Returns:
        A `DataCheck`.

    Raises:
        ValueError: if `source` is none of these, holds no images, or fewer than two
            classes; or another argument is not as above.

    Example:

    >>> images = np.random.default_rng(0).integers(0, 256, (4, 20, 20), "uint8")
    >>> images[3] = images[0]
    >>> found = keras_memvit.data.check((images, [0, 1, 0, 1]), min_images=2)
    >>> print(found.duplicates[0])
    exact: image 0, image 3 with the labels ['0', '1']
    """
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    for name, value in (("batch_size", batch_size), ("min_images", min_images)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"`{name}` must be an int of at least 1. Received: {value!r}"
            )
    found = gather(source)
    if features is not None and len(features) != len(found.pictures):
        raise ValueError(
            f"`features` must have a row for each of {len(found.pictures)} images. "
            f"Received: {len(features)}"
        )
    all_looks = look_at(found.pictures)
    damaged = [
        (picture.file, reason)
        for picture, reason in zip(found.pictures, all_looks)
        if isinstance(reason, str)
    ]
    whole = [
        (p, x) for p, x in zip(found.pictures, all_looks) if not isinstance(x, str)
    ]
    if not whole:
        raise ValueError(
            "`source` must hold images that can be read. Received "
            f"{len(damaged)} that cannot, such as {damaged[0]}"
        )
    pictures, looks = map(list, zip(*whole))
    names = [found.class_names[picture.label] for picture in pictures]
    groups = duplicate_groups(looks)
    double = [_duplicates(pictures, looks, names, *group) for group in groups]
    wrong = far = None
    if features is not None:
        can_be_read = [not isinstance(reason, str) for reason in all_looks]
        features = np.asarray(features, "float32")[can_be_read]
    elif backbone is not None:
        features = features_of(pictures, backbone, image_size, batch_size, verbose)
    if features is not None:
        number = np.arange(len(pictures))  # of the group
        for rows, _ in groups:
            number[rows] = rows[0]
        wrong, far = _by_features(features, pictures, found.class_names, number, seed)
    counts = _counts(pictures, names, found)
    return DataCheck(
        counts=counts,
        damaged=[Damaged(*pair) for pair in damaged],
        duplicates=[group for group in double if not group.leaks],
        leaks=[group for group in double if group.leaks],
        wrong_labels=wrong,
        outliers=far,
        tiny_classes=_tiny(counts, min_images),
        odd_sizes=[
            OddSize(pictures[row].file, *looks[row].size, reason)
            for row, reason in odd_sizes([look.size for look in looks])
        ],
        left_out=[(os.fspath(path), reason) for path, reason in found.left_out],
    )


def _duplicates(pictures, looks, names, rows, distance):
    chosen = [pictures[row] for row in rows]
    return Duplicates(
        kind="exact" if len({looks[row].content for row in rows}) == 1 else "near",
        files=[picture.file for picture in chosen],
        parts=[picture.part for picture in chosen],
        classes=[names[row] for row in rows],
        distance=distance,
    )


def _counts(pictures, names, found):
    counts = {part: dict.fromkeys(found.class_names, 0) for part in found.parts}
    for picture, name in zip(pictures, names):
        counts[picture.part][name] += 1
    return counts


def _tiny(counts, min_images):
    """The first part is the one to train."""
    found = []
    for i, (part, classes) in enumerate(counts.items()):
        least = min_images if i == 0 else -(-min_images // 5)
        found += [TinyClass(k, part, n) for k, n in classes.items() if n < least]
    return found


def _by_features(features, pictures, class_names, groups, seed):
    """Suspected wrong labels, and outliers."""
    labels = np.array([picture.label for picture in pictures])
    if len(labels) < FEWEST or len(np.unique(labels)) < 2:
        return [], []
    probabilities = out_of_fold(features, labels, groups, len(class_names), seed)
    wrong = []
    for row in disagreements(probabilities, labels):
        picture, likely = pictures[row], probabilities[row]
        wrong.append(
            WrongLabel(
                picture.file,
                picture.part,
                class_names[picture.label],
                class_names[int(likely.argmax())],
                float(likely.max()),
                float(likely[picture.label]),
            )
        )
    distances = neighbour_distances(features, groups)
    far = [
        Outlier(
            pictures[row].file,
            pictures[row].part,
            class_names[pictures[row].label],
            float(distances[row]),
        )
        for row in far_rows(distances)
    ]
    return wrong, far
