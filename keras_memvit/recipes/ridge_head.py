"""The ridge head as a candidate: on the class token as a task of a model reads it."""

import numpy as np

from keras_memvit.models.build import build
from keras_memvit.recipes.candidates import RIDGE
from keras_memvit.recipes.ridge import fit_ridge


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

    def held_out(self, labels, folds, num_classes):
        """Logits `(n, C)` of the judged rows, by heads that were not fitted on them."""
        logits = np.zeros((len(labels), num_classes), "float32")
        for fold in range(folds.count):
            out = folds.fold == fold
            kernel, bias = fit_ridge(self.features[~out], labels[~out], num_classes)
            logits[out] = self.features[out] @ kernel + bias
        return logits[folds.judged]

    def model(self, backbone, spec, labels):
        """A model of one task, its head fitted on everything."""
        kernel, bias = fit_ridge(self.features, labels, spec.num_classes)
        model = build(backbone, spec)
        head = {"head/kernel": kernel, "head/bias": bias}
        model.task_layers[spec.name].assign_arrays(self.arrays | head)
        return model
