"""What `learn` saw of the chosen candidate: what a report is made of."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass
class Evidence:
    """Answers to held-out images, by tasks that were not trained on them.

    Attributes:
        rows: ints `(n,)`, which of all images.
        labels: ints `(n,)`.
        logits: float32 `(n, C)`, of the chosen candidate, divided by its temperature.
        head_logits: float32 `(n, C)`, of the ridge head on frozen features.
        majority: int, the most frequent label of all images.
        folds: int. 1 = a hold-out; else every image was held out in turn.
        curves: list of dicts, one a trained candidate: `candidate`, `learning_rate`,
            `loss` by epoch, and with a hold-out `val_loss`, `val_accuracy`.
        names: list of str, the held-out images' files, or `image 7`.
        read: function from a position in `rows` to uint8 `(h, w, 3)`.
    """

    rows: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    head_logits: np.ndarray
    majority: int
    folds: int
    curves: list[dict]
    names: list[str]
    read: Callable[[int], np.ndarray]


def evidence_of(trials, best, head, examples):
    """The `Evidence` of finished trials.

    Args:
        trials: `Trials`.
        best, head: `Candidate`, the chosen one and the ridge head.
        examples: list of `(read, label)`, all images.
    """
    rows = trials.folds.judged
    readers = [examples[row][0] for row in rows]
    return Evidence(
        rows=rows,
        labels=trials.labels[rows],
        logits=trials.logits[best] / np.float32(trials.temperature(best)),
        head_logits=trials.logits[head],
        majority=int(np.bincount(trials.labels).argmax()),
        folds=trials.folds.count,
        curves=[
            {"candidate": c.words, "learning_rate": c.learning_rate, **curve}
            for c, curve in trials.curves.items()
            if curve
        ],
        names=[
            str(getattr(read, "path", f"image {row}"))
            for read, row in zip(readers, rows)
        ],
        read=lambda position: readers[position](),
    )
