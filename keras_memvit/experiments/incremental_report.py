"""The table of tasks that arrive in turn: Markdown, CSV, JSON and a plot."""

import csv

import numpy as np

from keras_memvit.experiments.learners import METHODS
from keras_memvit.experiments.report import has_matplotlib
from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json
from keras_memvit.files.atomic import write_whole

COLUMNS = {
    "last": "last accuracy",
    "average": "average accuracy",
    "task": "its task",
    "known": "the task known",
    "forgetting": "forgetting",
    "unknown": "AUROC of unknown, by the answer",
    "unknown_mahalanobis": "by Mahalanobis distance",
}


def line(name, seed, cell):
    """One result as it comes in."""
    return f"order {seed}: {METHODS[name][0]}: {100 * cell['last']:.1f} % at the end"


def write(output, rows, facts):
    """Writes `table.md`, `table.csv`, `table.json` and, with matplotlib, a plot.

    Args:
        output: folder.
        rows: list of dicts, see `incremental`.
        facts: dict of what the results were made with.
    """
    write_json(output / "table.json", {**facts, "rows": rows})
    with open_whole(output / "table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        spreads = [f"{name}_spread" for name in COLUMNS]
        pairs = [name for pair in zip(COLUMNS, spreads) for name in pair]
        writer.writerow(["method", *pairs])
        for row in rows:
            values = [v for name in COLUMNS for v in row[name] or ("", "")]
            writer.writerow([row["method"], *values])
    write_whole(output / "table.md", markdown(rows, facts))
    if has_matplotlib():
        _plot(output / "accuracy_by_step.svg", rows, facts)
    else:
        print("No plot: pip install matplotlib")


def markdown(rows, facts):
    """The table, and what its columns are."""
    sizes = facts["sizes"]
    classes = ", ".join(str(size) for size in sizes)
    epochs = f", {facts['epochs']} epochs" if facts["epochs"] else ""
    lines = [
        f"# {facts['data']}",
        "",
        f"{facts['classes']} classes in {len(sizes)} tasks that arrive one after the "
        f"other ({classes} classes); {facts['train']:,} images to train, "
        f"{facts['test']:,} to test, at {facts['image_size']} px; {facts['seeds']} "
        "orders of the classes (mean ± standard deviation). Tasks: "
        f"{facts['readout']}{epochs}. Backbone: {facts['backbone']}.",
        "",
        "Everything in %. Last: of the test images of all classes, at the end; "
        "average: of those of the classes seen, over the steps; its task: how often "
        "the answer is of the right task; the task known: among its classes alone; "
        "forgetting: what a task's test images lost since their best; AUROC: images of "
        "classes that come later against those of classes seen, over the steps.",
        "",
        "| method | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in rows:
        cells = [_percent(row[name], facts["seeds"] > 1) for name in COLUMNS]
        lines.append(f"| {METHODS[row['method']][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _percent(value, several):
    if value is None:
        return "-"
    mean, spread = value
    return f"{100 * mean:.1f}" + several * f" ± {100 * spread:.1f}"


def _plot(path, rows, facts):
    """Accuracy over the classes seen, by their number."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    seen = np.cumsum(facts["sizes"])
    for i, row in enumerate(rows):
        steps = 100 * np.array([cell["steps"] for cell in row["cells"]])
        style = {"color": f"C{i}", "label": METHODS[row["method"]][0].replace("`", "")}
        if steps.shape[1] < len(seen):
            axes.axhline(steps[:, -1].mean(), linestyle=":", **style)
            continue
        axes.errorbar(seen, steps.mean(0), steps.std(0), fmt="o-", **style)
    axes.set(xlabel="classes seen", ylabel="test accuracy over them, %", xticks=seen)
    figure.legend(loc="outside right upper")
    with open_whole(path) as file:
        figure.savefig(file, format="svg")
