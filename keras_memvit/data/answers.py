"""What a model answers to images, as rows, and rows as Parquet."""

import io

import numpy as np

from keras_memvit.files.atomic import open_whole

COLUMNS = ("image", "task", "rank", "answer", "probability", "value", "error")


def rows_of(names, found, specs, top):
    """Rows of one batch, image by image, task by task, best first.

    Of a multi-label task these are the labels at least as likely as not, and at least
    `top`; of a regression all values, in order.

    Args:
        names: list of str, the images.
        found: dict by task of what `predict` gave, `(B, num_classes)`.
        specs: dict by task of `TaskSpec`; without one a task has single labels.
        top: int, the classes to give.
    """
    for i, name in enumerate(names):
        for task, values in found.items():
            spec = specs.get(task)
            words = spec.class_names if spec and spec.class_names else None
            answers = _ANSWERS[spec.kind if spec else "single_label"](values[i], top)
            for rank, (label, answer) in enumerate(answers):
                row = {"image": name, "task": task, "rank": rank + 1}
                yield row | {"answer": words[label] if words else str(label)} | answer


def _single_label(logits, top):
    chances = np.exp(np.float64(logits) - np.max(logits))
    chances /= chances.sum()
    for label in np.argsort(-chances, kind="stable")[:top]:
        yield label, {"probability": float(chances[label])}


def _multi_label(logits, top):
    chances = 0.5 + 0.5 * np.tanh(0.5 * np.float64(logits))  # sigmoids
    for rank, label in enumerate(np.argsort(-chances, kind="stable")):
        if rank < top or chances[label] >= 0.5:
            yield label, {"probability": float(chances[label])}


def _regression(values, top):
    for label, value in enumerate(values):
        yield label, {"value": float(value)}


_ANSWERS = {
    "single_label": _single_label,
    "multi_label": _multi_label,
    "regression": _regression,
}


def error_rows(errors):
    """Rows of the images that could not be read."""
    return [{"image": name, "error": reason} for name, reason in errors]


def write_parquet(path, rows):
    """Writes rows whole.

    Args:
        path: the file.
        rows: a list of dicts with keys of `COLUMNS`.

    Raises:
        ImportError: if there is no pyarrow.
    """
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    types = {"rank": pyarrow.int32()}
    types |= dict.fromkeys(("probability", "value"), pyarrow.float32())
    schema = pyarrow.schema((c, types.get(c, pyarrow.string())) for c in COLUMNS)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), buffer)
    with open_whole(path) as file:
        file.write(buffer.getbuffer())


def import_pyarrow():
    """The package, or an error that says what to install."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow
