"""The report that `learn` leaves beside a task."""

import importlib.util

from keras_memvit.data.checks import check

NEEDS = {"jinja2": "jinja2", "sklearn": "scikit-learn", "PIL": "pillow"}


def wants_report(report, output):
    """Whether to write one: where it was asked for, or can be made.

    Args:
        report: bool or None, of `learn`.
        output: folder or None, of `learn`.

    Raises:
        ImportError: if it was asked for and a package is missing.
        ValueError: if it was asked for without a folder to write to.
    """
    if report and output is None:
        raise ValueError("`report=True` needs a folder `output`. Received: output=None")
    if output is None or report is False:
        return False
    missing = [pip for name, pip in NEEDS.items() if not importlib.util.find_spec(name)]
    if report and missing:
        raise ImportError(
            f"A report needs {', '.join(missing)}: pip install 'keras_memvit[report]'"
        )
    return not missing


def can_report(report, kind, held_out):
    """Whether a task has a report; an error where it was asked for and has none.

    Args:
        report: bool or None, of `learn`.
        kind: str, of the task.
        held_out: bool, whether some images are held out.
    """
    if report and kind != "single_label":
        raise ValueError(
            f"`report=True` is for single-label tasks. Received one of kind {kind!r}"
        )
    if report and not held_out:
        raise ValueError(
            "`report=True` needs held-out images, which a single candidate has none "
            "of: hand it over in a list, `candidates=[...]`"
        )
    return kind == "single_label" and held_out


def write_report(result, found, features):
    """Checks the images, enters that into the result, and writes `report.html`.

    Args:
        result: `LearnResult` with a path.
        found: the `LabelledImages` it was learned from.
        features: `(n, F)` of them, those to validate behind those to train.
    """
    from keras_memvit.report import write

    result.check = check(found, features=features)
    write(result, result.path.with_name("report.html"))
