"""What a model answers to images, as rows, and rows as CSV, JSON lines or Parquet."""

import csv
import io
import json
import pathlib

import numpy as np

from keras_memvit.files.atomic import open_whole

COLUMNS = ("image", "task", "rank", "answer", "probability", "error")


def rows_of(names, logits, specs, top):
    """Rows of one batch, image by image, task by task, best first.

    Args:
        names: list of str, the images.
        logits: dict by task of `(B, num_classes)`.
        specs: dict by task of `TaskSpec`.
        top: int, the classes to give.
    """
    chances = {task: _softmax(values) for task, values in logits.items()}
    for i, name in enumerate(names):
        for task, values in chances.items():
            spec = specs.get(task)
            words = spec.class_names if spec and spec.class_names else None
            for rank, label in enumerate(np.argsort(-values[i], kind="stable")[:top]):
                yield {
                    "image": name,
                    "task": task,
                    "rank": rank + 1,
                    "answer": words[label] if words else str(label),
                    "probability": float(values[i, label]),
                }


def error_rows(errors):
    """Rows of the images that could not be read."""
    return [{"image": name, "error": reason} for name, reason in errors]


def write_rows(path, rows):
    """Writes rows whole: `.csv`, `.jsonl` or `.parquet` by the file's suffix.

    Raises:
        ValueError: if the suffix is another.
        ImportError: if Parquet is asked for without pyarrow.
    """
    _WRITERS[check_suffix(path)](path, rows)


def check_suffix(path):
    """The suffix of a file of answers, in lower case."""
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(
            f"--output must be a file that ends in one of {', '.join(_WRITERS)}. "
            f"Received: {path}"
        )
    if suffix == ".parquet":
        _pyarrow()
    return suffix


def _write_csv(path, rows):
    with open_whole(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _write_json_lines(path, rows):
    with open_whole(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_parquet(path, rows):
    pyarrow = _pyarrow()
    from pyarrow import parquet

    types = {"rank": pyarrow.int32(), "probability": pyarrow.float32()}
    schema = pyarrow.schema((c, types.get(c, pyarrow.string())) for c in COLUMNS)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), buffer)
    with open_whole(path) as file:
        file.write(buffer.getbuffer())


def _pyarrow():
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow


_WRITERS = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


def _softmax(logits):
    shifted = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
