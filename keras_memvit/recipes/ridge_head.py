"""The ridge head as a candidate: on the class token as a task of a model reads it."""

import numpy as np

from keras_memvit.models.build import build
from keras_memvit.recipes.candidates import RIDGE
from keras_memvit.recipes.ridge import fit_ridge
from keras_memvit.recipes.ridge import fit_ridge_rows
from keras_memvit.recipes.scoring import mean_average_precision
from keras_memvit.training.target_statistics import mean_and_scale


class RidgeHead:
    """Heads in closed form on the class token, as the tasks of a model read it."""

    def __init__(self, backbone, store, seed):
        width = backbone.hidden_dim
        spec = RIDGE.spec("features", width)
        model = build(backbone, spec)
        layer = model.task_layers["features"]
        layer.start(seed)
        self.arrays = layer.arrays()
        # A head that hands its input on: the logits are the features.
        identity = {"head/kernel": np.eye(width), "head/bias": np.zeros(width)}
        layer.assign_arrays(self.arrays | identity)
        self.features = model.predict(store, verbose=0)["features"]  # (n, D)

    def held_out(self, labels, folds, num_classes, kind="single_label"):
        """Answers `(n, C)` of the judged rows, by heads that were not fitted on them.

        Logits, or of a regression values.
        """
        logits = np.zeros((len(labels), num_classes), "float32")
        for fold in range(folds.count):
            out = folds.fold == fold
            arrays = _fit(self.features[~out], labels[~out], num_classes, kind)
            answers = self.features[out] @ arrays["head/kernel"] + arrays["head/bias"]
            if kind == "regression":
                answers = answers * arrays["target/scale"] + arrays["target/mean"]
            logits[out] = answers
        return logits[folds.judged]

    def model(self, backbone, spec, labels):
        """A model of one task, its head fitted on everything."""
        head = _fit(self.features, labels, spec.num_classes, spec.kind)
        model = build(backbone, spec)
        model.task_layers[spec.name].assign_arrays(self.arrays | head)
        return model


def _fit(features, labels, num_classes, kind):
    """The head's arrays by their names in a task file."""
    if kind == "single_label":
        kernel, bias = fit_ridge(features, labels, num_classes)
    elif kind == "multi_label":  # towards 1 and -1: what is above 0 is a yes
        targets = np.where(labels < 0, np.nan, 2.0 * labels - 1.0)
        kernel, bias = fit_ridge_rows(features, targets, _precision_of)
    else:
        mean, scale = mean_and_scale(labels, num_classes)
        targets = (np.asarray(labels, "float64") - mean) / scale
        kernel, bias = fit_ridge_rows(features, targets)
        statistics = {"target/mean": mean, "target/scale": scale}
        return {"head/kernel": kernel, "head/bias": bias} | statistics
    return {"head/kernel": kernel, "head/bias": bias}


def _precision_of(answers, targets):
    """As of labels of 0 and 1, of targets of -1 and 1."""
    return mean_average_precision(answers, (targets > 0).astype(int))
