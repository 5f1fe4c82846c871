"""Several tasks' data sets as one, batch by batch."""

from typing import Any

import keras
import numpy as np

from keras_memvit.data.sources import as_source
from keras_memvit.training.labels import UNLABELLED


def mix(
    datasets: dict[str, Any],
    *,
    weights: str | dict[str, float] = "proportional",
    batch_size: int = 32,
    num_batches: int | None = None,
    seed: int = 0,
) -> "TaskMixture":
    """Mixes the data sets of several tasks for one `fit`.

    Each batch comes whole from one data set and carries its labels alone, so
    it costs the other tasks nothing (on TensorFlow, whose batches must all
    have one structure, the others' labels are -1: no gradient, but the work).

    Args:
        datasets: a dict by task name of NumPy arrays `(x, y)` or
            `(x, y, sample_weight)`, or of a `tf.data.Dataset`, `PyDataset`,
            torch `DataLoader` or other iterable over such batches. Labels that
            are a dict by task name are taken as they are.
        weights: `"proportional"`: every batch of every data set once an epoch;
            `"balanced"`: as many batches of each, the small ones several times;
            or a dict of positive numbers by task name.
        batch_size: int, for arrays. Defaults to `32`.
        num_batches: optional int, batches an epoch. Defaults to the sum of
            all data sets' batches, or for `"balanced"` so many that the
            largest is seen once.
        seed: int. The order of data sets, and of the examples in arrays, is
            a function of the seed and the epoch. A data set with `set_epoch`
            is told which pass over it begins.

    Returns:
        A `keras.utils.PyDataset` for `fit` and `evaluate`.

    Raises:
        ValueError: if an argument is not as above.

    Example:

    >>> import numpy as np
    >>> images = np.zeros((96, 32, 32, 3), "uint8")
    >>> train = keras_memvit.data.mix({
    ...     "digits": (images, np.zeros(96, int)),
    ...     "faces": (images[:32], np.zeros(32, int))})
    >>> len(train)
    4
    """
    return TaskMixture(datasets, weights, batch_size, num_batches, seed)


class TaskMixture(keras.utils.PyDataset):
    """What `mix` returns.

    `MemoryViT.fit` tells it the epoch, any other pass of Keras goes on to the next;
    it tells each data set which pass over it this is.

    Args:
        datasets, weights, batch_size, num_batches, seed: as in `mix`.

    Raises:
        ValueError: if an argument is not as `mix` says.

    Example:

    >>> images, labels = np.zeros((64, 8, 8, 3), "uint8"), np.zeros(64, int)
    >>> train = keras_memvit.data.mix({"digits": (images, labels)}, batch_size=16)
    >>> batch, answers = train[0]
    >>> batch.shape, list(answers)
    ((16, 8, 8, 3), ['digits'])
    """

    def __init__(
        self,
        datasets: dict[str, Any],
        weights: str | dict[str, float],
        batch_size: int,
        num_batches: int | None,
        seed: int,
    ) -> None:
        super().__init__()
        if not isinstance(datasets, dict) or not datasets:
            raise ValueError(
                "`datasets` must be a dict by task name that is not empty. "
                f"Received: {type(datasets).__name__}"
            )
        self.sources = {
            name: as_source(name, dataset, batch_size, seed)
            for name, dataset in datasets.items()
        }
        self.seed = seed
        self.counts = _batches_an_epoch(self.sources, weights, num_batches)
        self.kinds = {}
        self.first = {name: self._load(name, 0) for name in self.sources}
        self.same_structure = keras.backend.backend() == "tensorflow"
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Decides the order of the batches by the epoch."""
        self.epoch = epoch
        names = list(self.sources)
        which = np.repeat(np.arange(len(names)), [self.counts[n] for n in names])
        which = np.random.default_rng([self.seed, epoch]).permutation(which)
        position = {name: epoch * self.counts[name] for name in names}
        self.order = []
        for i in which:
            self.order.append((names[i], position[names[i]]))
            position[names[i]] += 1

    def set_kinds(self, kinds: dict[str, str]) -> None:
        """Takes the kinds of tasks by name: a regression's "no label" is NaN."""
        self.kinds = kinds

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch; Keras calls it after each pass."""
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index):
        images, labels, weights = self._load(*self.order[index])
        dtypes = {first[0].dtype for first in self.first.values()}
        if len(dtypes) > 1:
            images = images.astype("float32")
        if self.same_structure:
            labels, weights = self._fill(labels, weights, len(images))
        return (images, labels) if weights is None else (images, labels, weights)

    def _load(self, name, index):
        batch = self.sources[name].batch(index)
        if isinstance(batch, list):
            batch = tuple(batch)
        batch = keras.tree.map_structure(np.asarray, batch)
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        if labels is None:
            raise ValueError(
                f"`datasets['{name}']` must give batches `(x, y)` or "
                "`(x, y, sample_weight)`. Received a batch without labels"
            )
        labels = labels if isinstance(labels, dict) else {name: labels}
        if weights is not None and not isinstance(weights, dict):
            weights = dict.fromkeys(labels, weights)
        return images, {n: _signed(y) for n, y in labels.items()}, weights

    def _fill(self, labels, weights, size):
        """Gives a batch the labels and weights of every task: -1 and 1."""
        weighted = any(first[2] is not None for first in self.first.values())
        for _, others, _ in self.first.values():
            for name, y in others.items():
                if name not in labels:
                    values = self.kinds.get(name) == "regression"
                    nothing, dtype = UNLABELLED, y.dtype
                    if values:
                        nothing, dtype = np.nan, "float32"
                    labels[name] = np.full((size, *y.shape[1:]), nothing, dtype)
                elif self.kinds.get(name) == "regression":
                    labels[name] = labels[name].astype("float32")
        if weighted:
            ones = np.ones(size, "float32")
            weights = {name: (weights or {}).get(name, ones) for name in labels}
        return dict(sorted(labels.items())), weights


def _batches_an_epoch(sources, weights, num_batches):
    """How many batches each data set gives an epoch."""
    lengths = {name: source.length for name, source in sources.items()}
    endless = [name for name, length in lengths.items() if not length]
    if endless and (weights == "proportional" or num_batches is None):
        raise ValueError(
            f"The number of batches in `datasets` {endless} is not known: pass "
            "`num_batches` and weights other than 'proportional'. "
            f"Received: weights={weights!r}, num_batches={num_batches}"
        )
    if weights == "proportional":
        weights = lengths
    elif weights == "balanced":
        weights = dict.fromkeys(lengths, 1)
        num_batches = num_batches or len(lengths) * max(lengths.values())
    elif not isinstance(weights, dict) or set(weights) != set(lengths):
        raise ValueError(
            "`weights` must be 'proportional', 'balanced' or a dict with the keys "
            f"of `datasets` {list(lengths)}. Received: weights={weights!r}"
        )
    elif not all(weight > 0 for weight in weights.values()):
        raise ValueError(f"`weights` must be positive. Received: weights={weights!r}")
    if num_batches is None:
        num_batches = sum(lengths.values())
    return _apportion(weights, num_batches)


def _apportion(weights, total):
    """Whole numbers in proportion to the weights, by largest remainder."""
    exact = {name: total * w / sum(weights.values()) for name, w in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _signed(labels):
    """Unsigned integers as signed ones: -1 means no label."""
    return labels.astype("int32") if labels.dtype.kind in "ub" else labels
