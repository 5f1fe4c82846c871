"""Data sets of any kind as numbered batches, pass after pass."""

import copy
import threading

import keras
import numpy as np

from keras_memvit.training.data_length import num_batches


def as_source(name, dataset, batch_size, seed):
    """Wraps `(x, y[, sample_weight])` arrays or a data set of such batches.

    Args:
        name: how an error calls the data set.
        dataset: a tuple of arrays, a `PyDataset`, or anything that can be
            iterated again and again over batches.
        batch_size: int, for arrays.
        seed: int, orders the examples of arrays.

    Returns:
        An object with `length`, batches a pass (None = unknown or endless),
        and `batch(index)`, where indices go on counting from pass to pass.
    """
    if isinstance(dataset, (tuple, list)):
        return ArraySource(name, dataset, batch_size, seed)
    if isinstance(dataset, keras.utils.PyDataset):
        return IndexedSource(dataset)
    if not hasattr(dataset, "__iter__") or hasattr(dataset, "__next__"):
        raise ValueError(
            f"`datasets['{name}']` must be a tuple of arrays `(x, y)` or a data set "
            "that can be iterated over more than once. Received one of type "
            f"{type(dataset).__name__}"
        )
    return SequentialSource(name, dataset)


class ArraySource:
    """Batches of arrays, in a new order each pass."""

    def __init__(self, name, arrays, batch_size, seed):
        self.arrays = tuple(keras.tree.map_structure(np.asarray, a) for a in arrays)
        sizes = {len(array) for array in keras.tree.flatten(self.arrays)}
        if len(self.arrays) not in (2, 3) or len(sizes) != 1 or 0 in sizes:
            raise ValueError(
                f"`datasets['{name}']` must be arrays `(x, y)` or "
                "`(x, y, sample_weight)` of one length, not empty. Received "
                f"{len(self.arrays)} arrays of the lengths {sorted(sizes)}"
            )
        self.size = sizes.pop()
        self.batch_size = batch_size
        self.seed = seed
        self.length = -(-self.size // batch_size)

    def batch(self, index):
        number, position = divmod(index, self.length)
        order = np.random.default_rng([self.seed, number]).permutation(self.size)
        rows = order[position * self.batch_size : (position + 1) * self.batch_size]
        return keras.tree.map_structure(lambda array: array[rows], self.arrays)


class IndexedSource:
    """Batches of a `PyDataset`, each pass in its own order.

    A data set with `set_epoch` is told the number of the pass, in a copy: batches
    of two passes may be read at a time. Another one goes on by `on_epoch_end`.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self.length = num_batches(dataset)
        self.number = 0  # the pass
        self.passes = {}  # the last passes' copies
        self.lock = threading.Lock()

    def batch(self, index):
        if not self.length:
            return self.dataset[index]
        number, position = divmod(index, self.length)
        return self._in_pass(number)[position]

    def _in_pass(self, number):
        with self.lock:
            if not hasattr(self.dataset, "set_epoch"):
                while self.number < number:
                    self.dataset.on_epoch_end()
                    self.dataset.on_epoch_begin()
                    self.number += 1
                return self.dataset
            if number not in self.passes:
                dataset = copy.copy(self.dataset)
                dataset.set_epoch(number)
                kept = [n for n in self.passes if abs(n - number) < 2]
                self.passes = {n: self.passes[n] for n in kept} | {number: dataset}
            return self.passes[number]


class SequentialSource:
    """Batches of an iterable; going back starts the pass again."""

    def __init__(self, name, dataset):
        self.name = name
        self.dataset = dataset
        self.length = num_batches(dataset)
        self.iterator = None
        self.position = 0  # index of the next batch

    def batch(self, index):
        if self.iterator is None or index < self.position:
            self.position = index - index % self.length if self.length else 0
            self._start()
        while True:
            batch = next(self.iterator, None)
            if batch is None:
                self._start()
                batch = next(self.iterator, None)
            if batch is None:
                raise ValueError(f"`datasets['{self.name}']` is empty")
            self.position += 1
            if self.position > index:
                return batch

    def _start(self):
        """Begins a pass, and tells it to what keeps count of epochs."""
        for owner in (self.dataset, getattr(self.dataset, "sampler", None)):
            if self.length and hasattr(owner, "set_epoch"):
                owner.set_epoch(self.position // self.length)
        self.iterator = iter(self.dataset)
