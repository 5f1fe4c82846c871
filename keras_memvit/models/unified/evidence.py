"""What `unify` knows of each task's images."""

import dataclasses
from typing import Any

import numpy as np

from keras_memvit.models.unified.gaussians import GaussianStatistics
from keras_memvit.models.unified.ridge import RidgeStatistics
from keras_memvit.models.unified.ridge import random_features
from keras_memvit.models.unified.ridge import random_projection

BATCH_SIZE = 32


@dataclasses.dataclass
class Rows:
    """Images as frozen features and logits.

    Attributes:
        features: float32 `(n, F)`.
        labels: ints `(n,)`: a class of the task's, or of all tasks together.
        tasks: ints `(n,)`, places of tasks.
        logits: list of `(n, C_t)`, one a task.
    """

    features: np.ndarray
    labels: np.ndarray
    tasks: np.ndarray
    logits: list


@dataclasses.dataclass
class Evidence:
    """One task's statistics, and its images that no statistic holds.

    Attributes:
        num_classes: int.
        ridge: `RidgeStatistics`, for the method `"ridge"`.
        gaussian: `GaussianStatistics`.
        fitted, held: `(features, labels, logits by task name)`; of `fitted` the
            features are kept where a method trains on them.
        key: what must be equal for statistics to add up.
    """

    num_classes: int
    ridge: Any
    gaussian: Any
    fitted: tuple
    held: tuple
    key: tuple


def gather(name, size, fitted, held, options):
    """The `Evidence` of one task, from `(features, labels, logits)` of its images."""
    features, labels, _ = fitted
    missing = sorted(set(range(size)) - set(labels.tolist()))
    if missing:
        raise ValueError(
            f"`data` of task '{name}' must hold images of each of its {size} classes. "
            f"None of the classes {missing[:10]}"
        )
    ridge = gaussian = None
    if options["method"] == "ridge":
        projection = random_projection(features.shape[1], options)
        hidden = random_features(features, projection)
        ridge = RidgeStatistics.of(hidden, labels, size)
    if options["method"] == "task_posterior" or options["unknown"]:
        gaussian = GaussianStatistics.of(features, labels, size)
    if options["method"] != "gates":
        fitted = None
    return Evidence(size, ridge, gaussian, fitted, held, evidence_key(options))


def evidence_key(options):
    """What options the statistics of two tasks must share."""
    names = ("method", "unknown", "seed", "num_random_features", "backbone")
    return tuple(options[name] for name in names)


def all_rows(evidence, part):
    """The tasks' images, end to end, as `Rows` over all classes.

    Args:
        evidence: dict from task name to `Evidence`.
        part: `"fitted"` or `"held"`.
    """
    parts = [getattr(e, part) for e in evidence.values()]
    sizes = [e.num_classes for e in evidence.values()]
    starts = np.cumsum([0, *sizes])
    counts = [len(labels) for _, labels, _ in parts]
    logits = [
        np.concatenate(
            [
                own[name] if name in own else np.zeros((n, size), "float32")
                for (_, _, own), n in zip(parts, counts)
            ]
        )
        for name, size in zip(evidence, sizes)
    ]
    return Rows(
        np.concatenate([features for features, _, _ in parts]),
        np.concatenate(
            [labels + start for (_, labels, _), start in zip(parts, starts)]
        ),
        np.repeat(np.arange(len(parts)), counts),
        logits,
    )
