"""How candidates did, epoch by epoch."""

import math

import keras
import numpy as np

LARGE_BATCH = 256  # images; each size of a batch is compiled


class Judge(keras.callbacks.Callback):
    """Answers the held-out images after every epoch.

    Args:
        store: the `StateStore` of the held-out images.
        labels: of these images.
        scoring: the `Scoring` of the task's kind.

    Attributes:
        found: dict from task to `{"val_loss": [...], "val_accuracy": [...]}`, or what
            stands for accuracy.
    """

    def __init__(self, store, labels, scoring):
        super().__init__()
        self.store, self.labels, self.scoring = store, labels, scoring
        self.found = {}

    def on_epoch_end(self, epoch, logs=None):
        answers = predict_store(self.model, self.store)
        for name, logits in answers.items():
            metric = f"val_{self.scoring.metric}"
            curve = self.found.setdefault(name, {"val_loss": [], metric: []})
            curve["val_loss"].append(self.scoring.loss(logits, self.labels))
            curve[metric].append(self.scoring.score(logits, self.labels))


def predict_store(model, store):
    """A model's answers to a store, in batches of one size where it is small."""
    batch_size = len(store) if len(store) <= LARGE_BATCH else None
    return model.predict(store, batch_size=batch_size, verbose=0)


def curves_of(history, judge, num_candidates, num_folds, epochs):
    """One dict a candidate, training losses as the mean of its folds.

    Where a training was killed and went on, NaN stands for the epochs before.

    Args:
        history: dict, of `fit` over tasks named `c<candidate>-<fold>`.
        judge: `Judge`.
        num_candidates, num_folds: ints.
        epochs: int, that it was trained in all.
    """
    alone = num_candidates * num_folds == 1
    found = []
    for i in range(num_candidates):
        names = [f"c{i}-{fold}" for fold in range(num_folds)]
        keys = ["loss" if alone else f"{name}_loss" for name in names]
        losses = [history.get(key, []) for key in keys]
        curve = {"loss": [float(loss) for loss in np.mean(losses, axis=0)]}
        curve |= judge.found.get(names[0], {})
        found.append(
            {
                name: [math.nan] * (epochs - len(values)) + values
                for name, values in curve.items()
            }
        )
    return found
