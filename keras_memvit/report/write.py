"""`write`: one HTML file of what `learn` found."""

import datetime
import os
import pathlib
from typing import Any

from keras_memvit.files.atomic import write_whole
from keras_memvit.report import charts
from keras_memvit.report import measures
from keras_memvit.report.answers import picture_cards
from keras_memvit.report.card import commands
from keras_memvit.report.card import python_lines
from keras_memvit.report.card import task_card
from keras_memvit.report.found import check_view
from keras_memvit.report.found import files_of
from keras_memvit.report.found import shortener

HERE = pathlib.Path(__file__).parent
MOST_DRAWN = 100  # classes of a confusion matrix that can be seen
MOST_CLASSES = 40  # of the table; of more, those that did worst


def write(result: Any, path: str | os.PathLike, *, check: Any = None) -> pathlib.Path:
    """Writes what `recipes.learn` found as one HTML file.

    It needs no network and runs no script: charts are SVG inside it, pictures data
    URIs. Numbers are of the held-out images, answered by tasks that were not trained on
    them; attention is that of the finished task. Names of classes and files are shown
    as text, whatever they hold.

    Args:
        result: a `recipes.LearnResult` with `evidence`.
        path: the file to write; a former one is replaced in one step.
        check: optional `data.DataCheck` of the same images. Defaults to
            `result.check`.

    Returns:
        The path.

    Raises:
        ImportError: if jinja2, scikit-learn or Pillow is missing.
        ValueError: if the result has no evidence, such as one from a file.

    Example:

    ```python
    birds = keras_memvit.recipes.learn("photos/birds", backbone)
    keras_memvit.report.write(birds, "birds.html")
    ```
    """
    jinja2 = _jinja2()
    if getattr(result, "evidence", None) is None:
        raise ValueError(
            "`result` must be a `recipes.LearnResult` with the answers to held-out "
            f"images, its `evidence`. Received: {type(result).__name__} without"
        )
    path = pathlib.Path(path)
    check = check if check is not None else getattr(result, "check", None)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    page = environment.get_template("page.html.j2")
    write_whole(path, page.render(_content(result, path.parent, check)))
    return path


def _content(result, folder, check):
    """What the page's template takes."""
    evidence, names = result.evidence, list(map(str, result.class_names))
    labels, answers = evidence.labels, evidence.logits.argmax(-1)
    short = shortener([*evidence.names, *files_of(check)])
    rows = measures.accuracies(evidence)
    matrix = measures.confusion(labels, answers, len(names))
    probabilities = measures.softmax(evidence.logits)
    bins, error = measures.reliability(probabilities, labels)
    worst, uncertain = picture_cards(result, short)
    drawn = len(names) <= MOST_DRAWN
    classes = measures.by_class(labels, answers, names)
    return {
        "css": (HERE / "page.css").read_text("utf-8"),
        "date": datetime.datetime.now(datetime.UTC).strftime("%d %B %Y"),
        "result": result,
        "class_names": names,
        "readout": next(s for s in result.model.specs if s.name == result.name).readout,
        "num_held_out": len(labels),
        "folds": evidence.folds,
        "rows": rows,
        "gain": measures.paired_gain(rows[0]["right"], rows[1]["right"]),
        "accuracy_chart": charts.accuracy_bars(rows),
        "matrix": charts.confusion_chart(matrix, names) if drawn else None,
        "pairs": measures.confused_pairs(matrix, names, 8 if drawn else 20),
        "classes": sorted(classes, key=_difficulty)[:MOST_CLASSES],
        "all_classes": classes if len(classes) > MOST_CLASSES else None,
        "curves": _curves(result),
        "reliability": charts.reliability_diagram(bins),
        "calibration_error": error,
        "log_loss": _log_loss(labels, probabilities),
        "worst": worst,
        "uncertain": uncertain,
        "check": check_view(check, short) if check is not None else None,
        "skipped": [(short(str(file)), why) for file, why in result.skipped],
        "card": task_card(result),
        "commands": commands(result, folder),
        "python": python_lines(result, folder),
    }


def _difficulty(row):
    return (row["f1"] is None, row["f1"] if row["f1"] is not None else 0.0)


def _log_loss(labels, probabilities):
    from sklearn.metrics import log_loss

    return float(log_loss(labels, probabilities, labels=range(probabilities.shape[1])))


def _curves(result):
    """Charts of losses and accuracies by epoch, and whose colour is which."""
    found = result.evidence.curves
    chosen = result.candidate
    legend, losses, accuracies = [], [], []
    for number, curve in enumerate(found):
        mine = (curve["candidate"], curve["learning_rate"])
        is_chosen = mine == (chosen.words, chosen.learning_rate)
        losses.append((curve["loss"], number, is_chosen))
        if "val_accuracy" in curve:
            accuracies.append((curve["val_accuracy"], number, is_chosen))
        words = f"{mine[0]}, rate {mine[1]:g}"
        legend.append((number % charts.COLOURS, words, is_chosen))
    return {
        "legend": legend,
        "losses": charts.curves(losses, "training loss") if losses else None,
        "accuracies": (
            charts.curves(accuracies, "held-out accuracy", shares=True)
            if accuracies
            else None
        ),
    }


def _percent(share, digits=1):
    return "–" if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _jinja2():
    try:
        import jinja2
        import PIL  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"A report needs {error.name}: pip install 'keras_memvit[report]'"
        ) from error
    return jinja2
