"""Which examples a candidate is judged by: a hold-out, or folds of all."""

import dataclasses

import numpy as np

FEW = 5  # held-out images of a class below which all images are judged in turn
NUM_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Folds:
    """Who is held out when.

    Attributes:
        fold: ints `(n,)`; example `i` is held out in fold `fold[i]`, in none at -1.
        count: int, the number of folds.
    """

    fold: np.ndarray
    count: int

    @property
    def judged(self):
        """Rows that are held out once."""
        return np.flatnonzero(self.fold >= 0)

    @property
    def trained(self):
        """Rows that some fold trains on."""
        if self.count > 1:
            return np.arange(len(self.fold))
        return np.flatnonzero(self.fold < 0)

    def labels(self, labels, fold):
        """The labels of the trained rows, -1 where this fold holds them out."""
        rows = self.trained
        return np.where(self.fold[rows] == fold, -1, labels[rows])


def choose_folds(labels, held_out, seed):
    """The given hold-out, or folds where a class has few images in it.

    Args:
        labels: ints `(n,)`.
        held_out: bools `(n,)`, the validation part.
        seed: int.

    Returns:
        `Folds`.
    """
    classes, counts = np.unique(labels[held_out], return_counts=True)
    if len(classes) == len(np.unique(labels)) and counts.min() >= FEW:
        return Folds(np.where(held_out, 0, -1), 1)
    smallest = np.unique(labels, return_counts=True)[1].min()
    count = int(min(NUM_FOLDS, max(smallest, 2)))
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labels), int)
    for k in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == k))
        fold[rows] = np.arange(len(rows)) % count
    return Folds(fold, count)
