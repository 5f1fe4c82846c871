"""The layer that answers for all tasks at once."""

import keras
import numpy as np
from keras import ops

from keras_memvit.models.unified.calibration import Max
from keras_memvit.models.unified.gates import Gates
from keras_memvit.models.unified.gaussians import TaskPosterior
from keras_memvit.models.unified.gaussians import squared_distances
from keras_memvit.models.unified.ridge import Ridge

METHODS = {
    "ridge": Ridge,
    "max": Max,
    "gates": Gates,
    "task_posterior": TaskPosterior,
}
ALL, UNKNOWN = "all", "unknown"  # the outputs
SCORES = ("energy", "mahalanobis")  # the columns of `UNKNOWN`


class Answer(keras.layers.Layer):
    """Frozen features and the tasks' logits to `"all"` and `"unknown"`.

    Of `unknown` the first column is `-logsumexp(all)` and the second the squared
    Mahalanobis distance to the nearest class, each minus a threshold that 95 % of
    held-out images of the tasks stay below: above 0 an image belongs to no task.

    Args:
        method: a name of `METHODS`.
        tasks: dict from task name to its number of classes, in order.
        width: int `F`, of the features.
        num_random_features: int, for `"ridge"`.
        unknown: bool. Whether there is an output `"unknown"`.

    Call arguments:
        features: `(B, F)`.
        logits: dict by task name, `(B, num_classes)` each.

    Returns:
        A dict of float32 `"all"` `(B, C)` and `"unknown"` `(B, 2)`.
    """

    def __init__(self, method, tasks, width, num_random_features=0, unknown=True):
        super().__init__(name="answer", trainable=False, dtype="float32")
        self.method = method
        self.tasks = {name: int(size) for name, size in dict(tasks).items()}
        self.width = int(width)
        self.num_random_features = int(num_random_features)
        self.unknown = bool(unknown)
        self._owned = {}

    @property
    def num_classes(self):
        """Classes of all tasks."""
        return sum(self.tasks.values())

    @property
    def shapes(self):
        """Shapes of the weights by name."""
        sizes = list(self.tasks.values())
        found = METHODS[self.method].shapes(sizes, self.width, self.num_random_features)
        if self.unknown:
            found["whitening"] = (self.width, self.width)
            found["means"] = (self.num_classes, self.width)
            found["thresholds"] = (len(SCORES),)
        return found

    def build(self, input_shape=None):
        for name, shape in self.shapes.items():
            self._owned[name] = self.add_weight(
                name=name, shape=shape, initializer="zeros", trainable=False
            )

    def assign_arrays(self, arrays):
        """Sets the weights from a dict of arrays."""
        for name, variable in self._owned.items():
            variable.assign(np.asarray(arrays[name], "float32"))

    def arrays(self):
        """The weights as a dict of float32 arrays."""
        return {n: ops.convert_to_numpy(v) for n, v in self._owned.items()}

    def call(self, features, logits):
        return self.answers(self._weights(), features, logits)

    def _weights(self):
        return {name: variable.value for name, variable in self._owned.items()}

    def answers(self, w, features, logits):
        """`call` with the weights `w` given, a dict of tensors."""
        own = [ops.cast(logits[name], "float32") for name in self.tasks]
        found = {ALL: METHODS[self.method].logits(w, features, own)}
        if self.unknown:
            scores = unknown_scores(ops, w, features, found[ALL])
            found[UNKNOWN] = scores - w["thresholds"]
        return found

    def compute_output_shape(self, features_shape, logits_shape=None):
        shapes = {ALL: (features_shape[0], self.num_classes)}
        if self.unknown:
            shapes[UNKNOWN] = (features_shape[0], len(SCORES))
        return shapes

    def get_config(self):
        return {
            "method": self.method,
            "tasks": self.tasks,
            "width": self.width,
            "num_random_features": self.num_random_features,
            "unknown": self.unknown,
        }


def unknown_scores(xp, w, features, logits):
    """Energy and Mahalanobis distance: (B, F), (B, C) -> (B, 2).

    Args:
        xp: `numpy` or `keras.ops`.
        w: dict of `"whitening"` and `"means"`.
        features: `(B, F)`.
        logits: those over all classes, `(B, C)`.
    """
    top = xp.max(logits, axis=-1, keepdims=True)
    energy = -xp.log(xp.sum(xp.exp(logits - top), axis=-1)) - top[:, 0]
    return xp.stack(
        [energy, xp.min(squared_distances(xp, w, features), axis=-1)], axis=-1
    )
