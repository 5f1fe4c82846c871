"""A CSV or Parquet file that names images and their labels, one image a row."""

import csv
import functools
import io
import pathlib

from keras_memvit.data.class_folders import ImageFile
from keras_memvit.data.class_folders import defects
from keras_memvit.data.folder_layout import ROLES
from keras_memvit.data.found import Found
from keras_memvit.data.found import has_label
from keras_memvit.data.found import labels_by_image
from keras_memvit.data.label_columns import label_column
from keras_memvit.data.label_columns import parse_cells
from keras_memvit.data.pictures import read_image
from keras_memvit.data.splits import class_ids
from keras_memvit.tasks.spec import TaskSpec

IMAGE, SPLIT = "image", "split"
TEXT = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*TEXT, ".parquet")
NOT_A_NUMBER = ("nan", "inf", "-inf", "+inf")


def from_manifest(path, columns=None, kind="auto", whole=False):
    """What a manifest names.

    Args:
        path: a `pathlib.Path` with a suffix of `SUFFIXES`. Its column `image` has
            paths relative to its folder (in Parquet also encoded images), the optional
            column `split` `train`, `validation` or `test`; each other is a task.
        columns: optional list of the columns that are tasks.
        kind: of all tasks, or a dict by column; see `label_column`.
        whole: bool. Whether all rows are to train, whatever the split says.

    Returns:
        `Found`.
    """
    is_text = path.suffix.lower() in TEXT
    table, where = _read_text(path) if is_text else _read_parquet(path)
    if IMAGE not in table:
        raise ValueError(
            f"{path} must have a column 'image' with the images' paths. "
            f"Received the columns {list(table)}"
        )
    names = task_columns(path, table, columns, besides=(IMAGE, SPLIT))
    if not where:
        raise ValueError(f"{path} must name images. Received: no row")
    images = [
        _image(path, cell, row) for cell, row in zip(table[IMAGE], where, strict=True)
    ]
    parts = _parts(path, table.get(SPLIT), where)
    _require_files(path, images, table[IMAGE], where)
    files = {image.path for image in images if isinstance(image, ImageFile)}
    reasons = defects(sorted(files))
    encoded = []
    for name in names:
        cells = _cells(path, name, table[name], where) if is_text else table[name]
        encoded.append(label_column(name, cells, where, of_column(kind, name)))
    specs = [spec for spec, _ in encoded]
    labels = labels_by_image(specs, [column for _, column in encoded])
    found = {"train": [], "validation": [], "test": []}
    skipped = []
    for image, label, part, row in zip(images, labels, parts, where):
        name = str(getattr(image, "path", row))
        reason = reasons.get(getattr(image, "path", None))
        if reason is None and not has_label(label, specs):
            reason = "it has no label"
        if reason is None:
            part = "train" if whole else part
            found[part].append((image, label))
        else:
            skipped.append((name, reason))
    return _by_part(path, found, specs, skipped)


def _by_part(path, found, specs, skipped):
    held_out = found["validation"] or found["test"] or None
    if found["validation"] and found["test"]:
        reason = f"{len(found['test'])} images of the split 'test', which is not read"
        skipped.append((str(path), f"{reason}: 'validation' is there"))
    if not found["train"] and held_out is not None:
        raise ValueError(
            f"{path} must have images of the split 'train'. Received: "
            f"{len(held_out)} to validate or test alone"
        )
    for spec in specs:
        if spec.kind == "single_label" and held_out is not None:
            strange = class_ids(spec, held_out) - class_ids(spec, found["train"])
            if strange:
                names = [spec.class_names[k] for k in sorted(strange)]
                raise ValueError(
                    f"{path} must have the same classes of '{spec.name}' to validate "
                    f"as to train. Received to validate alone: {names}"
                )
    return Found(found["train"], held_out, specs, skipped)


def task_columns(source, table, columns, besides):
    """The columns that are tasks.

    Raises:
        ValueError: if one is not there, or has a name that no task can have.
    """
    others = [name for name in table if name not in besides]
    if columns is None:
        columns = others
    columns = [columns] if isinstance(columns, str) else list(columns)
    unknown = [name for name in columns if name not in others]
    if unknown or not columns:
        raise ValueError(
            f"`columns` must name columns of labels of {source}: {others}. "
            f"Received: {unknown or columns}"
        )
    for name in columns:
        try:
            TaskSpec(name, 1)
        except ValueError as error:
            raise ValueError(
                f"{source} has the column {name!r}, which cannot be a task: name those "
                f"that are in `columns`. {error}"
            ) from error
    return columns


def of_column(kind, name):
    """The kind of one column, of one kind for all or a dict."""
    return kind.get(name, "auto") if isinstance(kind, dict) else kind


def _read_text(path):
    """`(columns, rows)`: lists of cells by column, None = empty; names of rows."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = TEXT[path.suffix.lower()]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        lines = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no text file of columns: {error}") from error
    if not lines:
        raise ValueError(f"{path} must have a line of column names. Received: no line")
    (_, header), *lines = lines
    header = [name.strip() for name in header]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ValueError(f"{path} has several columns of the names {repeated}")
    for number, row in lines:
        if len(row) != len(header):
            raise ValueError(
                f"{path} must have {len(header)} cells a line, as its first. "
                f"Received {len(row)} in line {number}"
            )
    cells = [[cell.strip() or None for cell in row] for _, row in lines]
    columns = zip(*cells) if cells else [()] * len(header)
    table = {name: list(column) for name, column in zip(header, columns)}
    return table, [f"line {number} of {path.name}" for number, _ in lines]


def _read_parquet(path):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow"
        ) from error
    try:
        table = parquet.ParquetFile(path).read().to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    count = len(next(iter(table.values()), ()))
    return table, [f"row {i + 1} of {path.name}" for i in range(count)]


def _cells(path, name, cells, where):
    """One column's labels of a text file, parsed."""
    for cell, row in zip(cells, where):
        if cell is not None and cell.lower() in NOT_A_NUMBER:
            raise ValueError(
                f"{path} has the label {cell} in the column '{name}', {row}: leave "
                "it empty where there is no label"
            )
    return parse_cells(cells)


def _image(path, cell, where):
    if isinstance(cell, dict) and cell.get("bytes") is not None:
        return functools.partial(_decode, cell["bytes"])
    if isinstance(cell, dict):
        cell = cell.get("path")
    if not isinstance(cell, str) or not cell:
        raise ValueError(f"{path} must have an image in every row. None in {where}")
    return ImageFile(path.parent / pathlib.Path(cell))


def _decode(encoded):
    return read_image(io.BytesIO(encoded))


def _require_files(path, images, cells, where):
    missing = [
        (cell, row)
        for image, cell, row in zip(images, cells, where)
        if isinstance(image, ImageFile) and not image.path.is_file()
    ]
    if missing:
        cell, row = missing[0]
        raise ValueError(
            f"{path} names {len(missing)} images that are not there, first "
            f"{cell!r} in {row}. Paths are relative to {path.parent}"
        )


def _parts(path, cells, where):
    """`"train"`, `"validation"` or `"test"` by row."""
    if cells is None:
        return ["train"] * len(where)
    role_of = {name: role for role, names in ROLES.items() for name in names}
    found = []
    for cell, row in zip(cells, where):
        role = role_of.get(str(cell).casefold())
        if role is None:
            raise ValueError(
                f"{path} must have 'train', 'validation' or 'test' in the column "
                f"'split'. Received {cell!r} in {row}"
            )
        found.append(role)
    return found
