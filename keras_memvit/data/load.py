"""`data.load`: class folders, arrays or a TFDS name as training batches."""

import dataclasses
import difflib
import functools
import io
import os
import pathlib
import re
import warnings
from typing import Any

import numpy as np

from keras_memvit.data.class_folders import from_folder
from keras_memvit.data.image_batches import CROPS
from keras_memvit.data.image_batches import ImageBatches
from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import read_image

# `name`, `name/config`, `name:version`, `community:name`
TFDS_NAME = re.compile(r"[a-z]\w*([:/][\w.\-]+)*", re.ASCII)


@dataclasses.dataclass
class LabelledImages:
    """What `load` found.

    Attributes:
        train, validation: `ImageBatches`, for `fit` and `evaluate`.
        class_names: list of str, by label.
        skipped: list of `(file, reason)`: what was found and is not used.
    """

    train: ImageBatches
    validation: ImageBatches
    class_names: list[str]
    skipped: list[tuple[str, str]]


def load(
    source: Any,
    *,
    image_size: int | tuple[int, int] = (224, 224),
    batch_size: int = 32,
    augment: str | None = "inception",
    validation_split: float = 0.1,
    max_per_class: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
) -> LabelledImages:
    """Loads labelled images as batches to train from.

    Args:
        source: a folder with one folder of images a class (searched deeply,
            links followed), or with two such folders, one to train (`train`,
            `training`) and one to validate (`val`, `valid`, `validation`,
            `dev`, else `test`; in any case); arrays `(images, labels)`, uint8
            `(n, h, w, 3)` or `(n, h, w)`;
            or a TensorFlow Datasets name such as `"cifar100"` or its builder.
        image_size: int or `(height, width)`, the model's.
        batch_size: int. Defaults to `32`.
        augment: how training images are cropped: `"inception"` (default;
            random area, aspect ratio and flip), `"pad"` (random crop with
            padding and flip, for small images), or None.
        validation_split: float. The share of each class kept for validation,
            where the source has no validation or test part. Defaults to `0.1`.
        max_per_class: optional int. Takes at most this many images a class.
        shuffle: bool. Whether training batches come in a new order each epoch.
        seed: int. Decides split, order and crops.

    Returns:
        A `LabelledImages`. Every file of a folder is decoded once. What is not
        used is named in a warning and kept in `skipped`: damaged images, those
        of over 50 million pixels or of a scale that the file does not say,
        other files, hidden files and folders, classes without images.

    Raises:
        ValueError: if an argument is not as above, fewer than two classes
            have images, or a folder could mean two things (parts beside
            classes, parts inside classes, a folder linked into two classes).
        ImportError: if a TFDS name is given without the package.

    Example:

    ```python
    found = keras_memvit.data.load("pictures/birds", image_size=224)
    model = keras_memvit.build(backbone, {"birds": len(found.class_names)})
    model.compile()
    model.fit(found.train, validation_data=found.validation, epochs=5)
    ```
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if augment is not None and augment not in CROPS:
        raise ValueError(
            f"`augment` must be None or one of {list(CROPS)}. "
            f"Received: augment={augment!r}"
        )
    if not 0.0 < validation_split < 1.0:
        raise ValueError(
            "`validation_split` must be between 0 and 1. "
            f"Received: validation_split={validation_split}"
        )
    train, validation, names, skipped = _examples(source)
    if skipped:
        listed = "\n".join(f"  {printable(f)}: {reason}" for f, reason in skipped[:20])
        more = f"\n  and {len(skipped) - 20} more" if len(skipped) > 20 else ""
        warnings.warn(
            f"Left out {len(skipped)} of what `source` holds:\n{listed}{more}",
            stacklevel=2,
        )
    rng = np.random.default_rng(seed)
    train = _limit(train, max_per_class, rng)
    if validation is None:
        train, validation = split_by_class(train, validation_split, rng)
    options = {"image_size": tuple(size), "batch_size": batch_size, "seed": seed}
    return LabelledImages(
        ImageBatches(train, augment=augment, shuffle=shuffle, **options),
        ImageBatches(validation, augment=None, shuffle=False, **options),
        names,
        skipped,
    )


def _examples(source):
    """`(train, validation or None, class names, skipped)`; see `ImageBatches`."""
    if isinstance(source, (tuple, list)) and len(source) == 2:
        examples, names = _from_arrays(*map(np.asarray, source))
        return examples, None, names, []
    if isinstance(source, (str, os.PathLike)):
        folder = pathlib.Path(source).expanduser()
        if folder.is_dir():
            found = from_folder(folder)
            _require_classes(found[2])
            return found
        if not (isinstance(source, str) and TFDS_NAME.fullmatch(source)):
            raise ValueError(f"`source` must be a folder. {_not_there(source, folder)}")
    if isinstance(source, str) or hasattr(source, "as_data_source"):
        return _from_tfds(source)
    raise ValueError(
        "`source` must be a folder of class folders, arrays (images, labels), or a "
        f"TFDS name or builder. Received one of type {type(source).__name__}: "
        f"{str(source)[:100]}"
    )


def _from_arrays(images, labels):
    gray = images.ndim == 3
    if not (gray or images.shape[3:] == (3,)) or images.dtype != "uint8":
        raise ValueError(
            "`source` images must be uint8 of shape (n, h, w, 3) or (n, h, w). "
            f"Received: {images.dtype} of shape {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`source` labels must be integers of shape ({len(images)},). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    if gray:
        images = np.repeat(images[..., None], 3, axis=-1)
    examples = [
        (functools.partial(images.__getitem__, i), int(y)) for i, y in enumerate(labels)
    ]
    _require_classes(sorted(set(labels.tolist())))
    return examples, [str(k) for k in range(labels.max() + 1)]


def _from_tfds(source):
    """Random access to a TensorFlow Datasets set; validation, else test."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"`source` {source!r} is no folder; as a TensorFlow Datasets name it "
            "needs tensorflow-datasets: pip install tensorflow-datasets"
        ) from error
    builder = source
    if isinstance(source, str):  # a format with random access
        try:
            builder = tfds.builder(source, file_format="array_record")
        except tfds.core.DatasetNotFoundError as error:
            folder = pathlib.Path(source)
            close = difflib.get_close_matches(source, tfds.list_builders())
            raise ValueError(
                "`source` must be a folder or the name of a TensorFlow Datasets set"
                f"{f' (such as {close})' if close else ''}. "
                + _not_there(source, folder)
            ) from error
    builder.download_and_prepare()
    encoded = {"image": tfds.decode.SkipDecoding()}

    def examples(split):
        records = builder.as_data_source(split, decoders=encoded)

        def image(i):
            return read_image(io.BytesIO(records[i]["image"]))

        return [
            (functools.partial(image, i), int(record["label"]))
            for i, record in enumerate(records)
        ]

    held_out = [n for n in ("validation", "test") if n in builder.info.splits]
    names = list(builder.info.features["label"].names)
    validation = examples(held_out[0]) if held_out else None
    return examples("train"), validation, names, []


def _not_there(source, folder):
    """What there is in place of a folder."""
    if folder.exists():
        return f"Received the file {source}"
    parent = folder.resolve().parent
    while not parent.is_dir():
        parent = parent.parent
    return f"Received: {source!r}, which does not exist ({parent} does)"


def _require_classes(names):
    if len(names) < 2:
        raise ValueError(
            "`source` must have images of at least two classes. Received those of "
            f"{len(names)}: {names}"
        )


def _by_class(examples):
    found = {}
    for example in examples:
        found.setdefault(example[1], []).append(example)
    return found


def _limit(examples, count, rng):
    """At most this many examples a class, drawn at random."""
    if count is None:
        return examples
    kept = []
    for group in _by_class(examples).values():
        rows = np.sort(rng.permutation(len(group))[:count])
        kept += [group[row] for row in rows]
    return kept


def split_by_class(examples, share, rng):
    """The same share of every class, at least one example, on either side."""
    train, held_out = [], []
    for label, group in _by_class(examples).items():
        if len(group) < 2:
            raise ValueError(
                "`source` must have at least two images of every class, to train and "
                f"to validate. Received one of the class {label}"
            )
        count = min(max(round(len(group) * share), 1), len(group) - 1)
        chosen = set(rng.permutation(len(group))[:count].tolist())
        for row, example in enumerate(group):
            (held_out if row in chosen else train).append(example)
    return train, held_out
