"""`data.load`: labelled images from anywhere as training batches."""

import dataclasses
import os
import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_memvit.data.arrays import from_arrays
from keras_memvit.data.class_folders import from_folder
from keras_memvit.data.found import single_label
from keras_memvit.data.hub_datasets import from_hub_dataset
from keras_memvit.data.hub_datasets import is_hub_dataset
from keras_memvit.data.image_batches import CROPS
from keras_memvit.data.image_batches import ImageBatches
from keras_memvit.data.image_files import printable
from keras_memvit.data.label_columns import check_kind
from keras_memvit.data.manifest import SUFFIXES
from keras_memvit.data.manifest import from_manifest
from keras_memvit.data.splits import in_classes
from keras_memvit.data.splits import limit
from keras_memvit.data.splits import require_classes
from keras_memvit.data.splits import split
from keras_memvit.data.splits import split_by_class
from keras_memvit.data.tf_data import from_tf_data
from keras_memvit.data.tf_data import is_tf_data
from keras_memvit.data.tfds import from_tfds
from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import check_resizing
from keras_memvit.tasks.spec import TaskSpec

__all__ = ["LabelledImages", "load", "split_by_class"]

# `name`, `name/config`, `name:version`, `community:name`
TFDS_NAME = re.compile(r"[a-z]\w*([:/][\w.\-]+)*", re.ASCII)


@dataclasses.dataclass
class LabelledImages:
    """What `load` found.

    Attributes:
        train, validation: `ImageBatches`, for `fit` and `evaluate`; `validation` is
            None with `validation_split=0`.
        class_names: list of str, by label; of several tasks a dict of such.
        skipped: list of `(file, reason)`: what was found and is not used.
        tasks: list of `TaskSpec`, one for each label that an image may have, as
            `build` takes it.

    Example:

    >>> import numpy as np
    >>> images = np.zeros((20, 32, 32, 3), "uint8")
    >>> found = keras_memvit.data.load((images, np.arange(20) % 2), image_size=32)
    >>> found.class_names, found.skipped, found.tasks[0].num_classes
    (['0', '1'], [], 2)
    """

    train: ImageBatches
    validation: ImageBatches | None
    class_names: list[str] | dict[str, list[str]]
    skipped: list[tuple[str, str]]
    tasks: list[TaskSpec] = dataclasses.field(default_factory=list)


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
    kind: str | dict[str, str] = "auto",
    columns: Sequence[str] | None = None,
    resizing: str = DEFAULT,
) -> LabelledImages:
    """Loads labelled images as batches to train from.

    Args:
        source: a folder with one folder of images a class (searched deeply,
            links followed), or with two such folders, one to train (`train`,
            `training`) and one to validate (`val`, `valid`, `validation`,
            `dev`, else `test`; in any case); a manifest, a `.csv`, `.tsv` or
            `.parquet` file with a column `image` of paths relative to it, one column
            a task (an empty cell is no label), and where wanted `split` (`train`,
            `validation`, `test`); arrays `(images, labels)`, uint8 `(n, h, w, 3)` or
            `(n, h, w)`, and labels or a dict of them by task; a Hugging Face
            `Dataset` or `DatasetDict`; a `tf.data.Dataset` or two of them to train
            and to validate, read into memory; or a TensorFlow Datasets name such as
            `"cifar100"` or its builder.
        image_size: int or `(height, width)`, the model's.
        batch_size: int. Defaults to `32`.
        augment: how training images are cropped: `"inception"` (default;
            random area, aspect ratio and flip), `"pad"` (random crop with
            padding and flip, for small images), or None.
        validation_split: float. The share of each class kept for validation,
            where the source has no validation or test part. Defaults to `0.1`; with
            `0` all images are one set, `train`, whatever parts there are.
        max_per_class: optional int. Takes at most this many images a class.
        shuffle: bool. Whether training batches come in a new order each epoch.
        seed: int. Decides split, order and crops.
        kind: what labels are, see `TaskSpec`, for all tasks or a dict by name.
            Defaults to `"auto"`: integers and strings are `"single_label"`; rows of 0
            and 1, and in a manifest names with `|` between, `"multi_label"`; floats
            `"regression"`.
        columns: optional list of str: the columns of a manifest or of a Hugging Face
            set that are tasks. Defaults to all, or to those of class labels.
        resizing: how images get their size, with antialiasing: `"bilinear"`
            (default) or `"bicubic"`, the whole image whatever its aspect ratio;
            `"bilinear_crop"` or `"bicubic_crop"`, the largest part in the middle that
            has the wanted one. `backbone.resizing` is that of a `ViTBackbone`'s
            preset. `tasks` have it, so that what is served resizes alike.

    Returns:
        A `LabelledImages`. Every file of a folder is decoded once. What is not
        used is named in a warning and kept in `skipped`: damaged images, those
        of over 50 million pixels or of a scale that the file does not say,
        other files, hidden files and folders, classes without images.

    Raises:
        ValueError: if an argument is not as above, fewer than two classes
            have images, a folder could mean two things (parts beside
            classes, parts inside classes, a folder linked into two classes), or a
            manifest names files that are not there, columns that cannot be tasks or
            labels that are no numbers: it says which, and in which line.
        ImportError: if a TFDS name is given without the package.

    Example:

    ```python
    size = backbone.image_shape[:2]  # a ViTBackbone's
    found = keras_memvit.data.load(
        "photos/birds", image_size=size, resizing=backbone.resizing
    )
    model = keras_memvit.build(backbone, found.tasks)
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
    if not 0.0 <= validation_split < 1.0:
        raise ValueError(
            "`validation_split` must be at least 0 and below 1. "
            f"Received: validation_split={validation_split}"
        )
    check_resizing(resizing)
    for each in kind.values() if isinstance(kind, dict) else [kind]:
        check_kind(each)
    found = _find(source, kind, columns, not validation_split)
    unknown = set(kind if isinstance(kind, dict) else ())
    unknown -= {spec.name for spec in found.tasks}
    if unknown:
        raise ValueError(
            "`kind`, as a dict, must be keyed by tasks "
            f"{[spec.name for spec in found.tasks]}. Received: {sorted(unknown)}"
        )
    if found.skipped:
        _warn_of(found.skipped)
    rng = np.random.default_rng(seed)
    train, validation = found.train, found.validation
    if not validation_split:
        train, validation = train + (validation or []), None
    else:
        require_classes(found)
    train = limit(found, train, max_per_class, rng)
    if validation is None and validation_split:
        train, validation = split(found, train, validation_split, rng)
    options = {"image_size": tuple(size), "batch_size": batch_size, "seed": seed}
    options["resizing"] = resizing
    names = {spec.name: list(spec.class_names or ()) for spec in found.tasks}
    if validation is not None:
        validation = ImageBatches(validation, augment=None, shuffle=False, **options)
    return LabelledImages(
        ImageBatches(train, augment=augment, shuffle=shuffle, **options),
        validation,
        names if len(names) > 1 else next(iter(names.values())),
        found.skipped,
        [dataclasses.replace(spec, resizing=resizing) for spec in found.tasks],
    )


def _warn_of(skipped):
    listed = "\n".join(f"  {printable(f)}: {reason}" for f, reason in skipped[:20])
    more = f"\n  and {len(skipped) - 20} more" if len(skipped) > 20 else ""
    warnings.warn(
        f"Left out {len(skipped)} of what `source` holds:\n{listed}{more}",
        stacklevel=3,
    )


def _find(source, kind, columns, whole):
    """What a source of any kind holds, a `Found`."""
    if is_hub_dataset(source):
        return from_hub_dataset(source, columns, kind)
    path = None
    if isinstance(source, (str, os.PathLike)):
        path = pathlib.Path(source).expanduser()
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            return from_manifest(path, columns, kind, whole)
    if columns is not None:
        raise ValueError(
            "`columns` must be None where `source` has none: it is of manifests and "
            f"Hugging Face sets. Received: columns={columns!r}"
        )
    if is_tf_data(source):
        return from_tf_data(source, kind=kind)
    if isinstance(source, (tuple, list)) and len(source) == 2:
        if all(map(is_tf_data, source)):
            return from_tf_data(*source, kind=kind)
        return from_arrays(*source, kind=kind)
    in_classes(kind)
    if path is not None:
        if path.is_dir():
            return single_label(*from_folder(path))
        if not (isinstance(source, str) and TFDS_NAME.fullmatch(source)):
            raise ValueError(f"`source` must be a folder. {_not_there(source, path)}")
    if isinstance(source, str) or hasattr(source, "as_data_source"):
        return from_tfds(source, _not_there)
    raise ValueError(
        "`source` must be a folder of class folders, a manifest, arrays (images, "
        "labels), a Hugging Face or tf.data data set, or a TFDS name or builder. "
        f"Received one of type {type(source).__name__}: {str(source)[:100]}"
    )


def _not_there(source, folder):
    """What there is in place of a folder."""
    if folder.exists():
        return f"Received the file {source}"
    parent = folder.resolve().parent
    while not parent.is_dir():
        parent = parent.parent
    return f"Received: {source!r}, which does not exist ({parent} does)"
