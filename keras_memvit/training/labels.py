"""Labels by task: which there are, and which examples have one."""

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


def check_labels(labels, specs):
    """Checks NumPy labels before a run: type, range, no NaN.

    Args:
        labels: dict by task name; values that are no NumPy arrays or lists
            are left to the check during the run.
        specs: list of `TaskSpec`.

    Raises:
        ValueError: names the task, what was expected and what came.
    """
    for spec in specs:
        values = labels.get(spec.name)
        if not isinstance(values, (np.ndarray, list, tuple)):
            continue
        values = np.asarray(values)
        if not is_sparse(values.shape):
            continue  # one-hot or soft labels: the loss checks them
        legal = f"integers from 0 to {spec.num_classes - 1}, or -1 for no label"
        if values.dtype.kind not in "iubf":
            raise ValueError(
                f"Labels of task '{spec.name}' must be {legal}. "
                f"Received an array of dtype {values.dtype}"
            )
        bad = (
            (values != np.floor(values))
            | (values < UNLABELLED)
            | (values >= spec.num_classes)
        )
        if bad.any():
            raise ValueError(
                f"Labels of task '{spec.name}' must be {legal}. Received "
                f"{np.unique(values[bad])[:5].tolist()} among {bad.sum()} labels "
                "out of range"
            )


def is_sparse(shape):
    """Whether labels of this shape are class indices, `(B,)` or `(B, 1)`."""
    return len(shape) == 1 or (len(shape) == 2 and shape[-1] == 1)


def split_labels(labels, num_classes):
    """Separates labels from their absence, inside the graph.

    Args:
        labels: class indices `(B,)` or `(B, 1)`, or rows `(B, C)`.
        num_classes: int.

    Returns:
        `(labels, valid, errors)`: int32 indices `(B,)` with 0 where there is
        no label (or the rows as they are); float32 `(B,)`, 1 = has a label;
        and the scalar number of labels out of range, which count as absent.
    """
    labels = ops.convert_to_tensor(labels)
    if not is_sparse(labels.shape):
        valid = ops.cast(ops.any(labels != UNLABELLED, axis=-1), "float32")
        return labels, valid, ops.zeros(())
    labels = ops.reshape(labels, (-1,))
    in_range = ops.logical_and(labels >= 0, labels < num_classes)
    if "float" in str(labels.dtype):
        in_range = ops.logical_and(in_range, ops.floor(labels) == labels)
    wrong = ops.logical_not(ops.logical_or(in_range, labels == UNLABELLED))
    indices = ops.cast(ops.where(in_range, labels, ops.zeros_like(labels)), "int32")
    return indices, ops.cast(in_range, "float32"), ops.sum(ops.cast(wrong, "float32"))
