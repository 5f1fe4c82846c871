"""`precompute`: one pass of the frozen backbone over the data, kept."""

import datetime
import math
import os
import pathlib
import shutil
import time
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.files.locks import folder_locked
from keras_memvit.layers.image_scale import scaled_batch
from keras_memvit.layers.image_scale import warn_of_scale
from keras_memvit.states.image_order import ImageOrder
from keras_memvit.states.int8 import to_int8
from keras_memvit.states.passes import batches_of
from keras_memvit.states.passes import refuse_endless
from keras_memvit.states.passes import require_labels
from keras_memvit.states.shards import Shard
from keras_memvit.states.shards import stack_targets
from keras_memvit.states.store import StateStore
from keras_memvit.states.store_card import DTYPES
from keras_memvit.states.store_card import UnfinishedStore
from keras_memvit.states.store_card import read_card
from keras_memvit.states.store_card import stored_shape
from keras_memvit.states.store_card import write_card

SHARD_BYTES = 1 << 28
SPARE = 0.05  # the share of the disk that is left free


def precompute(
    model: keras.Model,
    dataset: Any,
    path: str | os.PathLike,
    *,
    dtype: str = "bfloat16",
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
        dataset: NumPy arrays `(x, y)` or `(x, y, sample_weight)`, or a data set
            of such batches, the same in every call and each pass in the same
            order (what augments at random may give other images).
        path: folder of the store.
        dtype: `"bfloat16"` (default), `"float32"` at twice the size, or `"int8"`, with
            one scale a token, at half of it.
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
    backbone = model if isinstance(model, ViTBackbone) else check_backbone(model)
    if dtype not in DTYPES:
        raise ValueError(
            f"`dtype` must be one of {list(DTYPES)}. Received: dtype={dtype!r}"
        )
    if views < 1 or not 0 <= process[0] < process[1]:
        raise ValueError(
            "`views` must be at least 1 and `process` (index, count) with index < "
            f"count. Received: views={views}, process={process}"
        )
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    refuse_endless(dataset)
    if hasattr(dataset, "ordered"):  # views must agree on what is where
        dataset = dataset.ordered(dataset.augment)
    arrays = isinstance(dataset, tuple)
    num_images = len(dataset[0]) if arrays else getattr(dataset, "num_images", None)
    writer = _Writer(backbone, path, dtype, views, process, verbose)
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


class _Writer:
    def __init__(self, backbone, path, dtype, views, process, verbose):
        self.encoder = _StatesEncoder(backbone, dtype)
        self.path = path
        self.process = process
        self.verbose = verbose
        self.remaining = None  # images to compute, until the estimate is given
        self.order = ImageOrder() if views > 1 else None
        shape = backbone.state_shape
        self.card = {
            "backbone": backbone.fingerprint(),
            "image_shape": list(backbone.image_shape),
            "state_shape": list(shape),
            "dtype": dtype,
            "views": views,
        }
        itemsize = np.dtype(DTYPES[dtype]).itemsize
        self.image_bytes = math.prod(stored_shape(self.card)) * itemsize
        self.card["shard_size"] = max(SHARD_BYTES // self.image_bytes, 1)
        self.trust_former = True
        self.intact = {}  # (view, number) -> whether this call found it so
        with folder_locked(path):  # another process may finish this store meanwhile
            self._claim()

    def _claim(self):
        """Makes the folder this store's, unless it is already."""
        try:
            found = read_card(self.path)
        except ValueError:  # damaged: what shards say of themselves counts
            found, self.trust_former = None, False
        wanted = {**self.card, "images": found and found["images"]}
        if found is None:
            write_card(self.path, wanted)
        elif found != wanted:
            differing = [k for k, v in wanted.items() if found.get(k) != v]
            raise ValueError(
                f"`path` holds another store, which differs in {differing}: choose an "
                f"empty folder. Received: {self.path}"
            )

    def _shard(self, view, number):
        return Shard(self.path, view, number, self.card, self.trust_former)

    def computes(self, image):
        """Whether the states of an image of the first view are to be computed."""
        number = image // self.card["shard_size"]
        index, count = self.process
        return number % count == index and not self._is_intact(0, number)

    def _is_intact(self, view, number):
        """Looked at once: who has not read its images cannot compute it later."""
        if (view, number) not in self.intact:
            self.intact[view, number] = self._shard(view, number).is_intact()
        return self.intact[view, number]

    def write_view(self, view, batches, num_images):
        """Writes the shards of one pass that are not there yet."""
        if view == 0:
            self._require_count(num_images)
            self._announce(num_images)
        progress = keras.utils.Progbar(num_images, verbose=self.verbose)
        size, seen, number = self.card["shard_size"], 0, 0
        images, targets = [], []
        for x, flat in batches:
            if not view and not seen and scaled_batch(x):
                warn_of_scale(stacklevel=3)
            if self.order:
                self.order.follow(view, seen, x)
            seen += len(x)
            while len(x):
                room = size - sum(map(len, images))
                images.append(x[:room])
                targets.append({k: v[:room] for k, v in flat.items()})
                x, flat = x[room:], {k: v[room:] for k, v in flat.items()}
                if sum(map(len, images)) == size:
                    self._write_shard(view, number, images, targets, progress)
                    images, targets, number = [], [], number + 1
        if images:
            self._write_shard(view, number, images, targets, progress)
        if not seen:
            raise ValueError("`dataset` must not be empty")
        with folder_locked(self.path):
            self._require_count(seen)
            write_card(self.path, {**self.card, "images": seen})

    def _require_count(self, num_images):
        known = (read_card(self.path) or {}).get("images")
        if None not in (known, num_images) and known != num_images:
            raise ValueError(
                "`dataset` must be the same in every call and pass. Received: "
                f"{num_images} images after {known}"
            )

    def _write_shard(self, view, number, images, targets, progress):
        index, count = self.process
        shard = self._shard(view, number)
        if number % count != index:
            return progress.add(sum(map(len, images)))
        intact = self._is_intact(view, number)
        if view:  # its images come with the labels of the first pass
            require_labels(self._shard(0, number), stack_targets(targets))
        if intact:
            require_labels(shard, stack_targets(targets))
            return progress.add(sum(map(len, images)))
        self._require_room(sum(map(len, images)))
        if self.verbose and self.remaining:
            self._estimate(images[0])
        states = []
        for x in images:
            found = self.encoder.predict_on_batch(x)
            states.append(to_int8(found) if self.card["dtype"] == "int8" else found)
            progress.add(len(x))
        shard.write(np.concatenate(states), stack_targets(targets))

    def _announce(self, num_images):
        """Says how large it gets, and refuses what does not fit at once."""
        if num_images is None:
            return
        whole = sum(
            card["images"]
            for view in range(self.card["views"])
            for number in range(-(-num_images // self.card["shard_size"]))
            if (card := self._shard(view, number).card())
        )
        self.remaining = num_images * self.card["views"] - whole
        self._require_room(self.remaining)
        if self.verbose:
            size = num_images * self.card["views"] * self.image_bytes / 1e9
            print(
                f"{self.path}: {num_images} images of {self.image_bytes / 1e3:.0f} kB "
                f"({self.card['dtype']}), {self.card['views']} views: {size:.2f} GB"
            )

    def _estimate(self, images):
        """Says, once, how long it takes, by timing one batch after the first."""
        self.encoder.predict_on_batch(images)  # compiles
        start = time.perf_counter()
        self.encoder.predict_on_batch(images)
        batches = self.remaining / len(images) / self.process[1]
        seconds = math.ceil((time.perf_counter() - start) * batches)
        print(f"{self.remaining} images to go: about {_duration(seconds)}")
        self.remaining = None

    def _require_room(self, num_images):
        need = num_images * self.image_bytes
        disk = shutil.disk_usage(self.path)
        room = disk.free - SPARE * disk.total
        if need > room:
            raise OSError(
                f"`path` has room for {max(room, 0) / 1e9:.2f} GB (a twentieth of the "
                f"disk is left free); {num_images} images need {need / 1e9:.2f} GB "
                f"as {self.card['dtype']}. Received: {self.path}"
            )


class _StatesEncoder(keras.Model):
    """Images to every layer's normed base tokens, `(B, L, T, D)`."""

    def __init__(self, backbone, dtype):
        super().__init__(name="states_encoder")
        self.backbone = backbone
        self.stored_dtype = "float32" if dtype == "int8" else dtype

    def call(self, images):
        states = [
            ops.cast(base.normed, self.stored_dtype)
            for _, base in self.backbone.base_layers(images)
        ]
        return ops.stack(states, axis=1)


def _duration(seconds):
    """Seconds as `h:mm:ss`."""
    return str(datetime.timedelta(seconds=seconds))


def check_backbone(model):
    """The backbone of a model whose base tokens no task changes."""
    if getattr(model, "attention", None) != "masked":
        raise ValueError(
            "`model` must be a MemoryViT with masked attention, since an unmasked "
            "task changes the base tokens, or a ViTBackbone. Received: "
            f"{getattr(model, 'attention', type(model).__name__)}"
        )
    return model.backbone
