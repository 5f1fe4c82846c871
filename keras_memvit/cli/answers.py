"""Rows of answers as CSV, JSON lines or Parquet."""

import csv
import json
import pathlib

from keras_memvit.data.answers import COLUMNS
from keras_memvit.data.answers import import_pyarrow
from keras_memvit.data.answers import write_parquet
from keras_memvit.files.atomic import open_whole


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
        import_pyarrow()
    return suffix


def _write_csv(path, rows):
    with open_whole(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _write_json_lines(path, rows):
    with open_whole(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


_WRITERS = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": write_parquet,
}
