"""What writes a store: shard by shard, each whole or not there."""

import datetime
import math
import shutil
import time

import keras
import numpy as np

from keras_memvit.files.locks import folder_locked
from keras_memvit.layers.image_scale import scaled_batch
from keras_memvit.layers.image_scale import warn_of_scale
from keras_memvit.states.compute_dtype import faster_dtype
from keras_memvit.states.compute_dtype import in_bfloat16
from keras_memvit.states.image_order import ImageOrder
from keras_memvit.states.int8 import to_int8
from keras_memvit.states.passes import require_labels
from keras_memvit.states.shards import Shard
from keras_memvit.states.shards import stack_targets
from keras_memvit.states.states_encoder import StatesEncoder
from keras_memvit.states.store_card import COMPUTE
from keras_memvit.states.store_card import DTYPES
from keras_memvit.states.store_card import read_card
from keras_memvit.states.store_card import stored_shape
from keras_memvit.states.store_card import write_card

SHARD_BYTES = 1 << 28
SPARE = 0.05  # the share of the disk that is left free


class StoreWriter:
    """One call's writing of a store, which other calls and processes may share.

    Args:
        backbone: the `ViTBackbone` that the store belongs to.
        path: folder, a `pathlib.Path`.
        dtype, views, process, verbose: as of `precompute`.
    """

    def __init__(self, backbone, path, dtype, views, process, verbose):
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

    def claim(self, backbone, compute_dtype, batch_size):
        """Makes the folder this store's, unless it is already."""
        with folder_locked(self.path):  # other processes do the same
            former = self._former()
            if compute_dtype == "auto" and former is not None:
                compute_dtype = former.get(COMPUTE)
            elif compute_dtype == "auto":
                dtype = self.card["dtype"]
                compute_dtype = faster_dtype(backbone, dtype, batch_size)
            if compute_dtype is not None:
                self.card[COMPUTE] = compute_dtype
                backbone = in_bfloat16(backbone)
            self._claim(former)
        self.encoder = StatesEncoder(backbone, self.card["dtype"])

    def _former(self):
        """The card of the store that is there; None where there is none to trust."""
        try:
            return read_card(self.path)
        except ValueError:  # damaged: what shards say of themselves counts
            self.trust_former = False
            return None

    def _claim(self, found):
        wanted = {**self.card, "images": found and found["images"]}
        if found is None:
            write_card(self.path, wanted)
        elif found != wanted:
            keys = wanted.keys() | found.keys()
            differing = sorted(k for k in keys if found.get(k) != wanted.get(k))
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


def _duration(seconds):
    """Seconds as `h:mm:ss`."""
    return str(datetime.timedelta(seconds=seconds))
