"""`precompute`: one pass of the frozen backbone over the data, kept."""

import os
import pathlib
from typing import Any

import keras

from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.states.compute_dtype import check_compute_dtype
from keras_memvit.states.passes import batches_of
from keras_memvit.states.passes import refuse_endless
from keras_memvit.states.store import StateStore
from keras_memvit.states.store_card import DTYPES
from keras_memvit.states.store_card import UnfinishedStore
from keras_memvit.states.writer import StoreWriter


def precompute(
    model: keras.Model,
    dataset: Any,
    path: str | os.PathLike,
    *,
    dtype: str = "bfloat16",
    compute_dtype: str | None = None,
    views: int = 1,
    batch_size: int = 32,
    process: tuple[int, int] = (0, 1),
    verbose: int = 1,
) -> StateStore | None:
    """Computes the frozen states of a data set once, for any number of trainings.

    Under the mask the base stream depends on the image alone. Each layer's
    base tokens after its first norm are stored, `L * T * D` numbers an image;
    `fit`, `evaluate` and `predict` take the store in place of images, and no
    step runs the backbone. The norm's output is stored because it is half of
    keys and values, and a few queries attend to it without projecting it.

    Called again on a folder, it goes on where it stopped: whole shards are
    kept, those whose checksum does not hold are computed again.

    Args:
        model: a `MemoryViT` with masked attention, or a `ViTBackbone`.
        dataset: an array of images, arrays `(x, y)` or `(x, y, sample_weight)`, or a
            data set of such batches, the same in every call and each pass in the same
            order (what augments at random may give other images).
        path: folder of the store.
        dtype: `"bfloat16"` (default), `"float32"` at twice the size, or `"int8"`, with
            one scale a token, at half of it.
        compute_dtype: None (default): the pass runs in the backbone's precision.
            `"bfloat16"`, or `"auto"`: both are timed for a second, and the faster one
            is taken and noted in the store (never for one of float32).
        views: int. Passes over the data, for data sets that augment at random;
            training takes them in turn, one an epoch. Defaults to `1`.
        batch_size: int. Images a step, for arrays. Defaults to `32`.
        process: `(index, count)`: where several processes write one store,
            which shards this one writes. Defaults to all.
        verbose: int. 0 = silent; otherwise a progress bar, and up front the
            size and an estimate of the time for arrays.

    Returns:
        A `StateStore`; None where other processes have not finished yet.

    Raises:
        ValueError: if an argument is not as above, the data set has no end, or
            other labels or the images in another order in a later pass, or the
            folder holds the store of another backbone, type or labels.
        OSError: if the disk has no room for it.

    Example:

    ```python
    store = keras_memvit.precompute(digits, (train_images, train_labels), "states")
    digits.fit(store, epochs=50)
    ```
    """
    backbone = backbone_of(model)
    if dtype not in DTYPES:
        raise ValueError(
            f"`dtype` must be one of {list(DTYPES)}. Received: dtype={dtype!r}"
        )
    if views < 1 or not 0 <= process[0] < process[1]:
        raise ValueError(
            "`views` must be at least 1 and `process` (index, count) with index < "
            f"count. Received: views={views}, process={process}"
        )
    check_compute_dtype(compute_dtype, dtype, backbone)
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if hasattr(dataset, "shape"):  # images alone
        dataset = (dataset,)
    refuse_endless(dataset)
    if hasattr(dataset, "ordered"):  # views must agree on what is where
        dataset = dataset.ordered(dataset.augment)
    arrays = isinstance(dataset, tuple)
    num_images = len(dataset[0]) if arrays else getattr(dataset, "num_images", None)
    writer = StoreWriter(backbone, path, dtype, views, process, verbose)
    writer.claim(backbone, compute_dtype, batch_size)
    if hasattr(dataset, "only") and views == 1:  # what is there already is not read
        dataset = dataset.only(writer.computes)
    for view in range(views):
        if hasattr(dataset, "set_epoch"):  # its crops are another view's
            dataset.set_epoch(view)
        writer.write_view(view, batches_of(dataset, batch_size), num_images)
    try:
        return StateStore(path)
    except UnfinishedStore:
        if process[1] == 1:
            raise
        return None


def backbone_of(model):
    """A `ViTBackbone`, or that of a model whose base tokens no task changes."""
    if isinstance(model, ViTBackbone):
        return model
    if getattr(model, "attention", None) != "masked":
        raise ValueError(
            "`model` must be a MemoryViT with masked attention, since an unmasked "
            "task changes the base tokens, or a ViTBackbone. Received: "
            f"{getattr(model, 'attention', type(model).__name__)}"
        )
    return model.backbone
