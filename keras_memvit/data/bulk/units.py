"""Units of bulk work: pictures that one worker answers, and writes, together.

A unit is what JSON can hold: `{"files": [path, ...]}`, `{"parquet": path,
"row_groups": [number], "start": row}` or `{"tfrecord": path}`. Its name is a digest of
that, so that it is the same in every call: of records it depends on no argument.
"""

import hashlib
import json
import os
import pathlib

from keras_memvit.data.answers import import_pyarrow
from keras_memvit.data.image_files import FileTree
from keras_memvit.data.image_files import printable


def name_of(unit):
    """The name of a unit, hexadecimal."""
    return hashlib.sha256(json.dumps(unit, sort_keys=True).encode()).hexdigest()[:24]


class Source:
    """Pictures in folders, in Parquet files and in TFRecords.

    Args:
        paths: a path or a list of them: folders (searched deeply), image files,
            `.parquet` and `.tfrecord` files.

    Attributes:
        files: sorted absolute paths of image files.
        records: the same of Parquet and TFRecord files.
        left_out: list of `(path, reason)`.

    Raises:
        ValueError: if a path leads to nothing, or nothing is there.
    """

    def __init__(self, paths):
        one = isinstance(paths, (str, os.PathLike))
        self.files, self.records, self.left_out = [], [], []
        for path in [paths] if one else paths:
            self._add(pathlib.Path(os.path.abspath(os.path.expanduser(path))))
        self.files = sorted(set(self.files))
        self.records = sorted(set(self.records))
        if not self.files and not self.records:
            raise ValueError(f"`source` must hold images. There are none in {paths}")

    def _add(self, path):
        if path.is_dir():
            tree = FileTree(path)
            self.files += tree.files
            for file, reason in tree.left_out:
                if is_records(file) and os.path.isfile(file):
                    self.records.append(pathlib.Path(file))
                else:
                    self.left_out.append((printable(file), reason))
        elif path.is_file():
            (self.records if is_records(path) else self.files).append(path)
        else:
            raise ValueError(
                "`source` must be folders, images, Parquet or TFRecord files. "
                f"Received: {path}, which does not exist"
            )

    def units(self, size, answered=(), columns=()):
        """Units of pictures.

        Args:
            size: int. Image files a unit.
            answered: names of image files that need no answer any more.
            columns: names of columns that Parquet files must have.

        Raises:
            ValueError: if one has not.
        """
        for start in range(0, len(self.files), size):
            own = map(str, self.files[start : start + size])
            own = [file for file in own if printable(file) not in answered]
            if own:
                yield {"files": own}
        for path in self.records:
            if ".parquet" in path.name:
                yield from _parquet_units(path, columns)
            else:
                yield {"tfrecord": str(path)}


def is_records(path):
    """Whether a file holds many pictures, by its name."""
    name = pathlib.Path(path).name
    return not name.startswith(".") and (
        name.endswith(".parquet") or ".tfrecord" in name
    )


def _parquet_units(path, columns):
    """A unit for each row group."""
    import_pyarrow()
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            found = file.metadata
            names = set(file.schema_arrow.names)
            rows = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
    except Exception:  # Arrow has errors of its own; the worker says which
        yield {"parquet": str(path), "row_groups": None, "start": 0}
        return
    if not names.issuperset(columns):
        raise ValueError(
            "`image_column` and `key_column` must be columns of every Parquet file. "
            f"Received: {list(columns)}, and {path} with {sorted(names)}"
        )
    start = 0
    for group, count in enumerate(rows):
        yield {"parquet": str(path), "row_groups": [group], "start": start}
        start += count
