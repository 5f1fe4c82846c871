"""Mean and scale of a regression's targets, taken at its first `fit`."""

import itertools

import keras
import numpy as np

from keras_memvit.training.store_inputs import is_store
from keras_memvit.training.torch_processes import of_all_processes

MAX_BATCHES = 64  # of a data set that are looked at; more while a task has no label
MOST_BATCHES = 1024


def mean_and_scale(values, num_columns):
    """Mean and standard deviation of each column, over the values that are there.

    Args:
        values: array `(n,)` or `(n, C)`, NaN where there is no label.
        num_columns: int, `C`.

    Returns:
        Two float32 arrays `(C,)`; 0 and 1 where a column has no value, the scale 1
        where all its values are equal.
    """
    values = np.asarray(values, "float64").reshape(-1, num_columns)
    known = np.isfinite(values)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, values, 0.0).sum(0) / count
    scale = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(0) / count)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1.0), scale, 1.0)
    return mean.astype("float32"), scale.astype("float32")


class StandardizesTargets:
    """In front of a `keras.Model` with `specs`, `task_layers` and `trained_tasks`."""

    def standardize_targets(self, labels):
        """Takes mean and scale of regression targets from these labels.

        `fit` does so by itself with the first labels that a task is trained on. Call
        it before, where `fit` gets a generator, or for `train_on_batch`. The answers
        of a task that is trained already change their units with this.

        Args:
            labels: a dict by task name, or an array where one task is trained:
                `(n,)` or `(n, num_classes)`, NaN where there is no label.

        Raises:
            ValueError: if a task is no regression, or an array has another width.
        """
        for name, values in self._labels_by_task(labels).items():
            layer = self.task_layers[name]
            width = layer.spec.num_classes
            if layer.spec.kind != "regression":
                raise ValueError(
                    f"`labels` must be of tasks whose kind is 'regression'. "
                    f"Received those of '{name}', a {layer.spec.kind} task"
                )
            values = np.asarray(values)
            if values.shape[1:] not in ((width,), () if width == 1 else (width,)):
                raise ValueError(
                    f"`labels` of task '{name}' must have the shape (n, {width}). "
                    f"Received: {values.shape}"
                )
            mean, scale = mean_and_scale(values, width)
            variables = layer.variables_by_name
            variables["target/mean"].assign(mean)
            variables["target/scale"].assign(scale)

    def _standardize_by(self, x, y):
        """At the first `fit` of a regression: what its labels are like."""
        names = [
            spec.name
            for spec in self.specs
            if spec.kind == "regression" and self._is_unscaled(spec.name)
        ]
        if not names:
            return
        if y is not None:
            found = [self._labels_by_task(y)]
        elif is_store(x):
            found = [self._labels_by_task(x.labels)]
        elif (labels := getattr(x, "all_labels", None)) is not None:
            found = [self._labels_by_task(labels())]
        else:
            found = map(self._labels_by_task, _labels_of(x, names))
        values = {name: [] for name in names}
        for number, labels in enumerate(found):
            for name in values.keys() & labels.keys():
                values[name].append(keras.ops.convert_to_numpy(labels[name]))
            if number >= MAX_BATCHES and all(values.values()):
                break
        found = of_all_processes(values)
        values = {name: sum((own[name] for own in found), []) for name in names}
        self.standardize_targets(
            {name: np.concatenate(parts) for name, parts in values.items() if parts}
        )

    def _is_unscaled(self, name):
        variables = self.task_layers[name].variables_by_name
        mean, scale = (
            keras.ops.convert_to_numpy(variables[f"target/{part}"])
            for part in ("mean", "scale")
        )
        return name in self.trained_tasks and not mean.any() and (scale == 1).all()


def _labels_of(data, names):
    """The labels of a data set's first batches."""
    if not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        raise ValueError(
            f"`x` must be arrays or a data set that can be read twice: {names} are "
            "regressions, whose targets' mean and scale are wanted first. Call "
            "`model.standardize_targets(labels)` before `fit`. "
            f"Received: {type(data).__name__}"
        )
    if isinstance(data, keras.utils.PyDataset):
        data = map(data.__getitem__, range(data.num_batches or MAX_BATCHES))
    for batch in itertools.islice(data, MOST_BATCHES):
        batch = tuple(batch) if isinstance(batch, list) else batch
        yield keras.utils.unpack_x_y_sample_weight(batch)[1]
