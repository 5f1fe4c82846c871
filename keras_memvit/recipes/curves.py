"""How candidates did, epoch by epoch."""

import keras
import numpy as np

from keras_memvit.recipes.temperature import cross_entropy


class Judge(keras.callbacks.Callback):
    """Answers the held-out images after every epoch.

    Args:
        store: the `StateStore` of the held-out images.
        labels: ints `(n,)`.

    Attributes:
        found: dict from task to `{"val_loss": [...], "val_accuracy": [...]}`.
    """

    def __init__(self, store, labels):
        super().__init__()
        self.store, self.labels = store, labels
        self.found = {}

    def on_epoch_end(self, epoch, logs=None):
        answers = self.model.predict(self.store, verbose=0)
        for name, logits in answers.items():
            curve = self.found.setdefault(name, {"val_loss": [], "val_accuracy": []})
            curve["val_loss"].append(cross_entropy(logits, self.labels))
            right = logits.argmax(-1) == self.labels
            curve["val_accuracy"].append(float(np.mean(right)))


def curves_of(history, judge, num_candidates, num_folds):
    """One dict a candidate, training losses as the mean of its folds.

    Args:
        history: dict, of `fit` over tasks named `c<candidate>-<fold>`.
        judge: `Judge`.
        num_candidates, num_folds: ints.
    """
    alone = num_candidates * num_folds == 1
    found = []
    for i in range(num_candidates):
        names = [f"c{i}-{fold}" for fold in range(num_folds)]
        losses = [history["loss" if alone else f"{name}_loss"] for name in names]
        curve = {"loss": [float(loss) for loss in np.mean(losses, axis=0)]}
        found.append(curve | judge.found.get(names[0], {}))
    return found
