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

    def labels(self, labels, fold, unknown=-1):
        """The labels of the trained rows, `unknown` where this fold holds them out."""
        rows = self.trained
        out = (self.fold[rows] == fold).reshape(-1, *[1] * (labels.ndim - 1))
        return np.where(out, np.asarray(unknown, labels.dtype), labels[rows])


def choose_folds(labels, held_out, seed, kind="single_label"):
    """The given hold-out, or folds where a class has few images in it.

    Where labels are rows, folds where a column has few known values, or few positives,
    in the hold-out.

    Args:
        labels: ints `(n,)`, or float32 `(n, C)` of which NaN and -1 are not known.
        held_out: bools `(n,)`, the validation part.
        seed: int.
        kind: str, of the task.

    Returns:
        `Folds`.
    """
    if kind != "single_label":
        return _choose_for_rows(labels, held_out, seed, kind)
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


def _choose_for_rows(labels, held_out, seed, kind):
    answers = kind == "multi_label"
    present = labels == 1 if answers else np.isfinite(labels)
    enough = FEW if answers else FEW * FEW  # numbers are judged by their spread
    wanted = np.minimum(present.sum(0), enough)
    if len(labels) > held_out.sum() > 0 and (present[held_out].sum(0) >= wanted).all():
        return Folds(np.where(held_out, 0, -1), 1)
    count = min(NUM_FOLDS, len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % count
    return Folds(fold, count)
