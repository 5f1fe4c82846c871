"""Labels by task: which there are, and which examples have one."""

import dataclasses

import keras
import numpy as np
from keras import ops

UNLABELLED = -1


def labels_by_task(labels, specs, trained, argument="y"):
    """The labels as a dict by task name.

    Args:
        labels: a dict by task name (a missing key = no labels), or an array
            where it is clear which task it is for; None = no labels.
        specs: list of `TaskSpec`.
        trained: names of the tasks that the model trains.
        argument: how an error calls `labels`.

    Returns:
        A dict from task name to labels.

    Raises:
        ValueError: if a key names no task, or an array could be for several.
    """
    names = [spec.name for spec in specs]
    if labels is None:
        return {}
    if isinstance(labels, dict):
        unknown = [name for name in labels if name not in names]
        if unknown:
            raise ValueError(
                f"`{argument}` must be keyed by the model's tasks {names}. "
                f"Received the unknown task names {unknown}"
            )
        return {name: value for name, value in labels.items() if value is not None}
    candidates = trained or names
    if len(candidates) != 1:
        raise ValueError(
            f"`{argument}` must be a dict by task name, since the model has the "
            f"tasks {candidates}. Received: {argument} of type {type(labels).__name__}"
        )
    return {candidates[0]: labels}


def check_labels(labels, objectives):
    """Checks NumPy labels before a run: type, range, width, no NaN.

    Args:
        labels: dict by task name; values that are no NumPy arrays or lists
            are left to the check during the run.
        objectives: dict from task name to `TaskObjective`.

    Raises:
        ValueError: names the task, what was expected and what came.
    """
    for name, values in labels.items():
        if not isinstance(values, (np.ndarray, list, tuple)):
            continue
        values, objective = np.asarray(values), objectives[name]
        spec = objective.spec
        if spec.kind != "single_label":
            values = _as_rows(values, spec)
        rows = not (spec.kind == "single_label" and is_sparse(values.shape))
        legal = f"Labels of task '{name}' must be {objective.legal_labels(rows)}. "
        if values.dtype.kind not in "iubf":
            raise ValueError(f"{legal}Received an array of dtype {values.dtype}")
        if rows:
            _check_width(values.shape, spec)
            bad = ~_legal_rows(values, objective.link, np, spec.kind)
        else:
            known = (values >= 0) & (values < objective.num_ids)
            bad = (values != np.floor(values)) | ~(known | (values == UNLABELLED))
        if bad.any():
            raise ValueError(
                f"{legal}Received {np.unique(values[bad])[:5].tolist()} among "
                f"{bad.sum()} labels out of range"
            )


def is_sparse(shape):
    """Whether labels of this shape are class indices, `(B,)` or `(B, 1)`."""
    return len(shape) == 1 or (len(shape) == 2 and shape[-1] == 1)


@dataclasses.dataclass
class Labels:
    """One task's labels of a batch, apart from their absence.

    Attributes:
        given: int32 class indices `(B,)` or float32 rows `(B, C)`, 0 where there is
            no label.
        num_classes: int, `C`.
        valid: float32 `(B,)`, 1 = has a label.
        columns: float32 `(B, C)`, 1 = has a label in this column; None where an
            example has a label or has not.
        errors: scalar, the number of labels out of range, which count as absent.
    """

    given: object
    num_classes: int
    valid: object
    columns: object
    errors: object

    @property
    def are_rows(self):
        return len(self.given.shape) > 1

    @property
    def ids(self):
        """Class indices `(B,)`."""
        return ops.argmax(self.given, axis=-1) if self.are_rows else self.given

    @property
    def rows(self):
        """float32 rows `(B, C)`; of one class, which is there or not."""
        if self.are_rows:
            return self.given
        if self.num_classes == 1:
            return ops.cast(self.given[:, None], "float32")
        return ops.one_hot(self.given, self.num_classes, dtype="float32")


def split_labels(labels, spec, num_ids, link):
    """Separates labels from their absence, inside the graph.

    Args:
        labels: class indices `(B,)` or `(B, 1)`, or rows `(B, C)`.
        spec: the `TaskSpec`.
        num_ids: int. Class indices are below it.
        link: what the rows are of, see `LINKS`: a distribution (`"softmax"`), answers
            of yes and no (`"sigmoid"`, each of which may be -1), or values (None; of
            a regression each may be NaN).

    Returns:
        `Labels`.
    """
    labels = ops.convert_to_tensor(labels)
    if keras.backend.standardize_dtype(labels.dtype).startswith(("bool", "uint")):
        labels = ops.cast(labels, "int32")  # which -1 can be compared with
    if spec.kind != "single_label":
        return _split_rows(_as_rows(labels, spec), spec, link)
    if not is_sparse(labels.shape):
        return _split_rows(labels, spec, link)
    labels = ops.reshape(labels, (-1,))
    in_range = ops.logical_and(labels >= 0, labels < num_ids)
    if "float" in str(labels.dtype):
        in_range = ops.logical_and(in_range, ops.floor(labels) == labels)
    wrong = ops.logical_not(ops.logical_or(in_range, labels == UNLABELLED))
    indices = ops.cast(ops.where(in_range, labels, ops.zeros_like(labels)), "int32")
    valid, errors = ops.cast(in_range, "float32"), ops.cast(wrong, "float32")
    return Labels(indices, spec.num_classes, valid, None, ops.sum(errors))


def _as_rows(labels, spec):
    """One column of a task of one may come as `(B,)`."""
    if spec.num_classes == 1 and len(labels.shape) == 1:
        return labels[:, None]
    return labels


def _split_rows(labels, spec, link):
    _check_width(labels.shape, spec)
    rows = ops.cast(labels, "float32")
    values = spec.kind == "regression"
    by_column = values or link == "sigmoid"
    columns = ops.logical_not(ops.isnan(rows)) if values else rows != UNLABELLED
    legal = _legal_rows(rows, link, ops, spec.kind)
    wrong = ops.logical_not(legal)
    valid = ops.logical_and(ops.any(columns, -1), ops.all(legal, -1))
    columns = ops.logical_and(columns, valid[:, None])
    kept = columns if by_column else valid[:, None]
    return Labels(
        ops.where(kept, rows, ops.zeros_like(rows)),
        spec.num_classes,
        ops.cast(valid, "float32"),
        ops.cast(columns, "float32") if by_column else None,
        ops.sum(ops.cast(wrong, "float32")),
    )


def _legal_rows(rows, link, numpy, kind="single_label"):
    """`(B, C)`: which values may stand in rows, by NumPy or by `keras.ops`."""
    if kind == "regression":
        return numpy.logical_not(numpy.isinf(rows))
    absent = rows == UNLABELLED
    if link is None:
        return numpy.isfinite(rows)
    if link == "sigmoid":
        return numpy.logical_or(absent, numpy.logical_and(rows >= 0, rows <= 1))
    nothing = numpy.all(absent, axis=-1)[:, None]  # in part is not a distribution
    return numpy.logical_or(nothing, numpy.logical_and(rows >= 0, rows < np.inf))


def _check_width(shape, spec):
    size = spec.num_classes
    if len(shape) != 2 or shape[-1] not in (None, size):
        legal = {
            "single_label": f"class indices (B,) or rows (B, {size})",
            "multi_label": f"rows (B, {size}) of 0, 1, or -1 for not known",
            "regression": f"values (B, {size}), NaN for no label",
        }[spec.kind]
        raise ValueError(
            f"Labels of task '{spec.name}' must be {legal}. "
            f"Received an array of shape {tuple(shape)}"
        )
