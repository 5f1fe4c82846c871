"""How answers to held-out images are judged, by the kind of their task."""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_memvit.recipes.temperature import binary_cross_entropy
from keras_memvit.recipes.temperature import cross_entropy
from keras_memvit.recipes.temperature import fit_temperature


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What a kind of task is chosen by.

    Attributes:
        metric: str, the name of `score`.
        score: function of answers and labels; the largest is best.
        loss: the same; the smallest is best.
        temperature: function of answers and labels: what to divide answers by.
        worst: float, the score of answers that are not finite.
        unknown: float, what stands for no label.
    """

    metric: str
    score: Callable
    loss: Callable
    temperature: Callable
    worst: float = 0.0
    unknown: float = -1


def accuracy(logits, labels):
    """The share of images whose largest logit is their class's."""
    return float(np.mean(logits.argmax(-1) == labels))


def mean_average_precision(logits, labels):
    """The mean over columns of the average precision, equal logits counted together.

    Args:
        logits: array `(n, C)`.
        labels: `(n, C)` of 0 and 1; -1 is left out, and so is a column without a 1.
    """
    found = []
    for scores, answers in zip(np.asarray(logits).T, np.asarray(labels).T):
        known = answers >= 0
        scores, positive = scores[known], answers[known] >= 0.5
        if not positive.any():
            continue
        order = np.argsort(-scores, kind="stable")
        scores, positive = scores[order], positive[order]
        last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of equals
        right = np.cumsum(positive)[last]
        gained = np.diff(right, prepend=0) / right[-1]
        found.append(np.sum(gained * right / (last + 1)))
    return float(np.mean(found)) if found else 0.0


def r2(values, labels):
    """`1 - sum (y - y')^2 / sum (y - mean y)^2`, the mean over columns.

    Args:
        values: array `(n, C)`.
        labels: `(n, C)`; NaN is left out, and so is a column whose labels are equal.
    """
    found = []
    for answers, wanted in zip(np.asarray(values, "float64").T, np.asarray(labels).T):
        known = np.isfinite(wanted)
        answers, wanted = answers[known], wanted[known].astype("float64")
        spread = np.sum((wanted - wanted.mean()) ** 2) if known.any() else 0.0
        if spread:
            found.append(1.0 - np.sum((wanted - answers) ** 2) / spread)
    return float(np.mean(found)) if found else 0.0


def absolute_error(values, labels):
    """The mean of `|y - y'|` over the labels that are there, in their units."""
    errors = np.abs(np.asarray(values, "float64") - labels)
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("inf")


SCORING = {
    "single_label": Scoring("accuracy", accuracy, cross_entropy, fit_temperature),
    "multi_label": Scoring(
        "mean_average_precision",
        mean_average_precision,
        binary_cross_entropy,
        lambda logits, labels: fit_temperature(logits, labels, binary_cross_entropy),
    ),
    "regression": Scoring(
        "r2",
        r2,
        absolute_error,
        lambda values, labels: 1.0,
        worst=float("-inf"),
        unknown=float("nan"),
    ),
}
