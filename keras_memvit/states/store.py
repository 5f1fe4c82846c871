"""A store of frozen states, to train from in place of images."""

import copy
import math
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Sequence

import keras
import numpy as np

from keras_memvit.backbones.same_backbone import require_same_backbone
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.states.shards import Shard
from keras_memvit.states.shards import flatten_targets
from keras_memvit.states.shards import stack_targets
from keras_memvit.states.shards import unflatten_targets
from keras_memvit.states.store_card import CARD
from keras_memvit.states.store_card import UnfinishedStore
from keras_memvit.states.store_card import damaged
from keras_memvit.states.store_card import read_card
from keras_memvit.states.store_card import stored_shape

ALIGNMENT = 64  # bytes


class StateStore:
    """What `precompute` wrote: for `fit`, `evaluate` and `predict`.

    Holds, for each image and view, every layer's base tokens after the first
    norm, `(L, T, D)`: what tasks attend to through the key and value
    projections. Read from disk as needed (memory-mapped).

    Args:
        path: the store's folder.

    Attributes:
        num_images: int. Images a view.
        num_views: int. Passes over the data, taken in turn by epoch.
        state_shape: `(L, T, D)`.
        dtype: `"bfloat16"`, `"float32"` or `"int8"`.

    Raises:
        ValueError: if there is no whole store at `path`, or a file of it is
            damaged: names it. States are checked when they are first read.

    Example:

    ```python
    store = keras_memvit.StateStore("states")
    digits.fit(store, validation_data=keras_memvit.StateStore("val_states"), epochs=50)
    ```
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        card = read_card(self.path)
        if card is None or card["images"] is None:
            raise UnfinishedStore(
                "`path` must be a folder that `precompute` has finished. "
                f"Received: {path}"
            )
        self.card = card
        self.num_images = card["images"]
        self.num_views = card["views"]
        self.state_shape = tuple(card["state_shape"])
        self.dtype = card["dtype"]
        self.index = None  # rows on disk of a subset
        self.drops_remainder = False
        self.shards = self._open_shards()
        self.states = [[shard.states() for shard in view] for view in self.shards]
        self.verified = set()  # (view, number) of the shards whose checksum holds
        targets = [shard.targets() for shard in self.shards[0]]
        if len({frozenset(rows) for rows in targets}) > 1:
            raise damaged(self.path, "its shards hold the labels of different tasks")
        self.targets = stack_targets(targets)

    def _open_shards(self):
        """The shards by view, each with as many images as it must have."""
        size = self.card["shard_size"]
        count = -(-self.num_images // size)
        found, missing = [], []
        for view in range(self.num_views):
            found.append([])
            for number in range(count):
                shard = Shard(self.path, view, number, self.card)
                images = min(size, self.num_images - number * size)
                card = shard.card()
                if card is None or card["images"] != images:
                    missing.append(shard.stem.name)
                found[-1].append(shard)
                if len(missing) >= 5:
                    break
            surplus = Shard(self.path, view, count, self.card).path(".json")
            if surplus.exists():
                raise damaged(self.path / CARD, f"{surplus.name} is one shard too many")
            if missing:
                raise UnfinishedStore(
                    f"The store at {self.path} lacks the shards {missing}, or they are "
                    "damaged: call `precompute` again, it goes on where it stopped"
                )
        return found

    @property
    def labels(self) -> dict | np.ndarray | None:
        """The labels in the order of the images: an array, or a dict by task name."""
        return unflatten_targets(self.targets)[0]

    def check(self, backbone: ViTBackbone) -> None:
        """Refuses another backbone, image size or preprocessing."""
        made_with = (self.card["backbone"], self.card["image_shape"])
        require_same_backbone(backbone, *made_with, f"The store at {self.path}")

    def labelled_for(self, names: Iterable[str]) -> "StateStore":
        """The same states for other tasks, which all learn from the same labels.

        Args:
            names: task names.

        Returns:
            A new `StateStore`; this one stays as it is.

        Raises:
            ValueError: unless the store holds the labels of one task.
        """
        labels, weights = map(_values, unflatten_targets(self.targets))
        if len(labels) != 1 or len(weights) > 1:
            raise ValueError(
                f"The store at {self.path} must hold the labels and at most the sample "
                f"weights of one task. Received: {sorted(self.targets)}"
            )
        other = copy.copy(self)
        sample_weight = weights[0] if weights else None  # of every task
        other.targets = flatten_targets(dict.fromkeys(names, labels[0]), sample_weight)
        return other

    def with_labels(self, labels: dict) -> "StateStore":
        """The same states with other labels.

        Args:
            labels: dict by task name of arrays whose first axis is the images.

        Returns:
            A new `StateStore`; this one stays as it is.

        Raises:
            ValueError: if an array has another number of rows.
        """
        for name, values in labels.items():
            if len(values) != self.num_images:
                raise ValueError(
                    f"`labels` of task '{name}' must have {self.num_images} rows, one "
                    f"an image. Received: {len(values)}"
                )
        other = copy.copy(self)
        other.targets = flatten_targets(labels, None)
        return other

    def subset(self, indices: Sequence[int]) -> "StateStore":
        """Some of the images, in the order of `indices`.

        Returns:
            A new `StateStore` on the same files.
        """
        indices = np.asarray(indices)
        other = copy.copy(self)
        other.index = indices if self.index is None else self.index[indices]
        other.num_images = len(indices)
        other.targets = {name: value[indices] for name, value in self.targets.items()}
        return other

    def drop_remainder(self) -> "StateStore":
        """The same states, in whole batches where `fit` shuffles them.

        What an epoch's order leaves over is not trained on in that epoch. A compiler
        of fixed shapes then compiles once, and not again for a smaller last batch.
        """
        other = copy.copy(self)
        other.drops_remainder = True
        return other

    def batches(
        self, batch_size: int = 32, shuffle: bool = False, seed: int = 0
    ) -> "StateBatches":
        """The store as a `keras.utils.PyDataset` of batches."""
        return StateBatches(self, batch_size, shuffle, seed)

    def rows(self, indices: Sequence[int], view: int = 0) -> np.ndarray:
        """States of some images, `(n, L, T, D)`; bfloat16 as its bits, int16.

        int8 is `(n, L, T, D + 4)`, a token's float32 scale behind its numbers. NumPy
        knows no bfloat16: its bits travel to every backend as they are. A shard's
        checksum is computed when its first row is read.

        Raises:
            ValueError: if it does not hold; names the file.
        """
        size = self.card["shard_size"]
        states = self.states[view]
        indices = indices if self.index is None else self.index[indices]
        for number in {int(i) // size for i in indices}:
            if (view, number) not in self.verified:
                self.shards[view][number].verify(".npy")
                self.verified.add((view, number))
        batch = _aligned((len(indices), *stored_shape(self.card)), states[0].dtype)
        for row, i in zip(batch, indices):
            row[...] = states[i // size][i % size]
        return batch

    def __len__(self) -> int:
        return self.num_images


class StateBatches(keras.utils.PyDataset):
    """Batches `({"states": states}, labels[, weights])`, each epoch in its order."""

    def __init__(
        self, store: StateStore, batch_size: int, shuffle: bool, seed: int
    ) -> None:
        super().__init__()
        self.store = store
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Decides the order and the view by the epoch."""
        self.view = epoch % self.store.num_views
        self.order = np.arange(self.store.num_images)
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.permutation(self.order)

    def __len__(self):
        count, rest = divmod(self.store.num_images, self.batch_size)
        whole = self.store.drops_remainder and self.shuffle and count
        return count if whole else count + bool(rest)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = {"states": self.store.rows(rows, self.view)}
        targets = {name: value[rows] for name, value in self.store.targets.items()}
        labels, sample_weight = unflatten_targets(targets)
        if labels is None:
            return (inputs,)
        if sample_weight is None:
            return inputs, labels
        return inputs, labels, sample_weight


def _values(targets):
    """The arrays of one array, of a dict of them, or of None."""
    if isinstance(targets, dict):
        return list(targets.values())
    return [] if targets is None else [targets]


def _aligned(shape, dtype):
    """An empty array at a multiple of 64 bytes, which JAX takes without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, "uint8")
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
