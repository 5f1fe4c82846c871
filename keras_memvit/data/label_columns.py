"""A column of labels as a task: what kind it is of, and its labels as numbers."""

import math
import numbers

import numpy as np

from keras_memvit.tasks.spec import TASK_KINDS
from keras_memvit.tasks.spec import TaskSpec

NOT_KNOWN = -1


def label_column(name, values, where, kind="auto", class_names=None):
    """The task of one column, and a label for each row.

    Strings and integers are classes, floats are values. Lists are rows of 0, 1 and
    -1 (not known), or the names of what is in the image; lists of floats are vectors.

    Args:
        name: str, the task's.
        values: list of strings, numbers or lists; None = no label.
        where: list of str, how an error names each row.
        kind: `"auto"`, or a kind of `TaskSpec`.
        class_names: optional list of str, where integers number these.

    Returns:
        `(TaskSpec, labels)`: ints of which -1 is no label; float32 rows `(C,)`, -1
        where an answer is not known; of a regression, NaN.

    Raises:
        ValueError: names the column, and the row at fault.
    """
    check_kind(kind)
    rows = [i for i, value in enumerate(values) if value is not None]
    if not rows:
        raise ValueError(f"`source` has no label in the column '{name}'")
    present = [values[i] for i in rows]
    for i, value in zip(rows, present):
        if any(isinstance(x, float) and not math.isfinite(x) for x in _flat(value)):
            raise ValueError(
                f"`source` has the label {value} in the column '{name}', {where[i]}: "
                "leave it empty where there is no label"
            )
    lists = [isinstance(value, list) for value in present]
    if any(lists) and not all(lists):
        i = rows[lists.index(not lists[0])]
        raise _mixed(name, values[i], where[i], values[rows[0]])
    parts = [x for value in present for x in _flat(value)]
    texts = [isinstance(x, str) for x in parts]
    if any(texts) and not all(texts):
        i = next(i for i in rows if isinstance(_first(values[i]), str) != texts[0])
        raise _mixed(name, values[i], where[i], values[rows[0]])
    arguments = (name, values, rows, where)
    if all(lists):
        return _of_lists(*arguments, kind, class_names, all(texts) and bool(texts))
    return _of_scalars(*arguments, kind, class_names, all(texts))


def check_kind(kind):
    """Refuses what is neither `"auto"` nor a kind."""
    if kind != "auto" and kind not in TASK_KINDS:
        raise ValueError(
            f"`kind` must be 'auto' or one of {TASK_KINDS}. Received: kind={kind!r}"
        )


def _of_scalars(name, values, rows, where, kind, class_names, texts):
    present = [values[i] for i in rows]
    whole = texts or all(float(value).is_integer() for value in present)
    if kind == "auto":
        floats = any(isinstance(value, float) for value in present)
        kind = "regression" if floats else "single_label"
    if kind == "regression" and not texts:
        found = [np.full(1, np.nan, "float32") for _ in values]
        for i in rows:
            found[i][0] = values[i]
        return TaskSpec(name, 1, kind="regression"), found
    if kind != "single_label" or not whole:
        i = rows[0] if whole else next(i for i in rows if values[i] != int(values[i]))
        raise _wrong(name, kind, values[i], where[i])
    if not texts:
        present = [int(value) for value in present]
    if class_names is not None:
        ids, names = range(len(class_names)), class_names
    else:
        ids = sorted({x for x in present if texts or x != NOT_KNOWN})
        names = [str(value) for value in ids]
    if not names:
        raise ValueError(f"`source` has no label in the column '{name}'")
    number = {value: k for k, value in enumerate(ids)}
    found = [NOT_KNOWN] * len(values)
    for i, value in zip(rows, present):
        if value not in number and value != NOT_KNOWN:
            raise ValueError(
                f"`source` has the label {value} in the column '{name}', {where[i]}, "
                f"and {len(names)} classes"
            )
        found[i] = number.get(value, NOT_KNOWN)
    return TaskSpec(name, len(names), class_names=names), found


def _of_lists(name, values, rows, where, kind, class_names, texts):
    present = [values[i] for i in rows]
    answers = all(x in (0, 1, NOT_KNOWN) for value in present for x in value)
    if kind == "auto" and (texts or class_names is not None or answers):
        kind = "multi_label"
    floats = any(isinstance(x, float) for value in present for x in value)
    kind = "regression" if kind == "auto" and floats else kind
    if kind == "multi_label" and (texts or class_names is not None):
        names = class_names or sorted({x for value in present for x in value})
        number = {x: k for k, x in enumerate(range(len(names)) if not texts else names)}
        found = [np.full(len(names), -1.0, "float32") for _ in values]
        for i in rows:
            unknown = [x for x in values[i] if x not in number]
            if unknown:
                raise _wrong(name, kind, values[i], where[i])
            found[i][:] = 0.0
            found[i][[number[x] for x in values[i]]] = 1.0
        spec = TaskSpec(name, len(names), class_names=names, kind=kind)
        return spec, found
    width = len(present[0])
    odd = [i for i in rows if len(values[i]) != width]
    rows_of_answers = kind == "multi_label" and answers
    if texts or odd or not (kind == "regression" or rows_of_answers):
        i = (odd or rows)[0]
        raise _wrong(name, kind, values[i], where[i])
    nothing = np.nan if kind == "regression" else -1.0
    found = [np.full(width, nothing, "float32") for _ in values]
    for i in rows:
        found[i][:] = values[i]
    return TaskSpec(name, width, kind=kind), found


def _flat(value):
    return value if isinstance(value, list) else [value]


def _first(value):
    return next(iter(_flat(value)), None)


def _mixed(name, value, where, other):
    return ValueError(
        f"`source` must have labels of one type in a column. Received in '{name}' "
        f"{value!r}, {where}, beside {other!r}"
    )


def _wrong(name, kind, value, where):
    legal = {
        "auto": "classes, rows of 0 and 1, or floats; say `kind`",
        "single_label": "one class an image",
        "multi_label": "rows of 0, 1 and -1 of one length, or lists of names",
        "regression": "numbers, or vectors of one length",
    }[kind]
    return ValueError(
        f"`source` must have in the column '{name}' {legal}. "
        f"Received {value!r}, {where}"
    )


def parse_cells(cells):
    """Strings of a text file as numbers where all are, and lists where `|` parts them.

    Args:
        cells: list of str; None = nothing there.

    Returns:
        A list of strings, ints, floats, or lists of such, and None.
    """
    if any("|" in cell for cell in cells if cell is not None):
        lists = [None if cell is None else cell.split("|") for cell in cells]
        parts = _numbers([x.strip() for row in lists if row for x in row])
        parts = iter(parts)
        return [row and [next(parts) for _ in row] for row in lists]
    return _numbers(cells)


def _numbers(cells):
    """All as ints, else all as floats, else as they are."""
    for number in (int, float):
        try:
            return [None if cell is None else number(cell) for cell in cells]
        except ValueError:
            continue
    return cells


def is_number(value):
    """Whether this is an int or a float, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
