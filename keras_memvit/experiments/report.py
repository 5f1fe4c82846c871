"""The table in the paper's form, a CSV, and plots."""

import csv
import importlib.util
import math

from keras_memvit import plot
from keras_memvit.experiments.regimes import REGIMES
from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json
from keras_memvit.files.atomic import write_whole

# Table 2: ViT-B/32, ImageNet-21k, accuracy in per cent.
PAPER = {
    "SUN-397": {"full": 76.9, "head": 75.9, "class": 76.4, 1: 77.0, 5: 76.8, 10: 76.9},
    "iNaturalist": {
        "full": 54.0,
        "head": 46.3,
        "class": 48.7,
        1: 49.4,
        5: 50.1,
        10: 50.0,
    },
    "CIFAR-100": {
        "full": 91.8,
        "head": 85.8,
        "class": 88.6,
        1: 90.9,
        5: 91.0,
        10: 91.1,
    },
    "Places-365": {
        "full": 55.9,
        "head": 50.9,
        "class": 52.4,
        1: 53.3,
        5: 53.8,
        10: 53.9,
    },
}
TWENTY = {"SUN-397": 76.9, "iNaturalist": 50.0, "CIFAR-100": 90.9, "Places-365": 54.1}
OPTIMIZER_NAMES = {"adamw": "AdamW (head: SGD)", "sgd": "SGD"}


def label(row):
    """A regime in words."""
    cells = f", {row['cells']} cells" if row["cells"] else ""
    return REGIMES[row["regime"]].words + cells


def percent(row):
    """Mean accuracy, and its spread where there are several seeds."""
    several = len(row["accuracies"]) > 1
    return f"{100 * row['mean']:.1f}" + several * f" ± {100 * row['spread']:.1f}"


def line(row):
    """One result as it comes in."""
    how = ", ".join(row.get("chosen", [f"learning rate {row['learning_rate']}"]))
    return f"{label(row)}: {percent(row)} % ({how}, {row['parameters']:,} parameters)"


def write(output, rows, facts):
    """Writes `table.md`, `table.csv`, `table.json` and, with matplotlib, plots.

    Args:
        output: folder.
        rows: list of dicts, see `table2`.
        facts: dict of what the results were made with.
    """
    write_json(output / "table.json", {**facts, "rows": rows})
    with open_whole(output / "table.csv", "w", newline="") as file:
        columns = ("regime", "cells", "learning_rate", "mean", "spread", "parameters")
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    write_whole(output / "table.md", markdown(rows, facts))
    if not has_matplotlib():
        print("No plots: pip install matplotlib")
        return
    _plot(output, rows, "cells", "memory tokens per layer", False)
    _plot(output, rows, "parameters", "trainable parameters", True)
    _plot_forgetting(output, rows)


def write_attention(output, model, image):
    """Where the last masked task's class token looks: `attention.png`."""
    if has_matplotlib():
        plot.attention(model, image, "task", path=output / "attention.png")


def has_matplotlib():
    return importlib.util.find_spec("matplotlib") is not None


def markdown(rows, facts):
    """Ours, then the paper's numbers, each with its backbone and data."""
    means = {row["regime"]: row["mean"] for row in rows if not row["cells"]}
    gap = means.get("full", math.nan) - means.get("head", math.nan)
    lines = [
        f"# {facts['data']}",
        "",
        f"{facts['classes']} classes; {facts['train']:,} images to train, "
        f"{facts['validation']:,} to choose the learning rate, {facts['test']:,} to "
        f"test, at {facts['image_size']} px; {facts['epochs']} epochs; "
        f"{facts['seeds']} seeds (mean ± standard deviation); regimes that train from "
        f"images: {facts['image_epochs']} epochs, seeds: {facts['image_seeds']}. "
        f"{OPTIMIZER_NAMES[facts['optimizer']]}. Backbone: {facts['backbone']}. "
        "Difference that a masked task makes to the base tokens: "
        f"{facts['base_difference']}.",
        "",
        "| regime | test accuracy, % | % of the gap head to full (by seed) "
        "| parameters | old output changed by |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        shown = _recovered(row, means["head"], gap) if gap > 0 else "-"
        lines.append(
            f"| {label(row)} | {percent(row)} | {shown} | {row['parameters']:,} | "
            f"{_changed(row)} |"
        )
    lines += [
        "",
        "The paper's Table 2 (ViT-B/32, ImageNet-21k; accuracy, %):",
        "",
        "| | full | head | head + class | 1 cell | 5 | 10 | 20 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, values in PAPER.items():
        cells = " | ".join(str(value) for value in values.values())
        lines.append(f"| {name} | {cells} | {TWENTY[name]} |")
    return "\n".join(lines) + "\n"


def _recovered(row, head, gap):
    """How much of the gap a regime closes, in the mean and by seed."""
    values = [row["mean"], *row["accuracies"]]
    mean, *by_seed = (f"{100 * (value - head) / gap:.0f}" for value in values)
    return f"{mean} ({', '.join(by_seed)})" if len(by_seed) > 1 else mean


def _changed(row):
    """The old output's relative change; the head alone has no encoder to change."""
    change = row.get("output_change")
    return "-" if change is None else f"{change:.0%}" if change else "0.0"


def _plot_forgetting(output, rows):
    """The old output's relative change by regime."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.get("output_change") is not None]
    figure = Figure(figsize=(8, 1 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [label(row) for row in rows], [row["output_change"] for row in rows]
    )
    axes.bar_label(bars, [_changed(row) for row in rows], padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="change of the old output, |f' - f| / |f|")
    axes.margins(x=0.2)
    _save(figure, output / "forgetting.svg")


def _plot(output, rows, column, title, logarithmic):
    """Accuracy against a column, a line a regime that has cells."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for i, regime in enumerate(dict.fromkeys(row["regime"] for row in rows)):
        style = {"color": f"C{i}", "label": REGIMES[regime].words}
        own = [row for row in rows if row["regime"] == regime]
        means, spreads = ([100 * r[k] for r in own] for k in ("mean", "spread"))
        if own[0]["cells"] or column == "parameters":
            places = [row[column] for row in own]
            axes.errorbar(places, means, spreads, fmt="o-", **style)
        else:
            axes.axhline(means[0], linestyle=":", **style)
    if logarithmic:
        axes.set_xscale("log")
    axes.set(xlabel=title, ylabel="test accuracy, %")
    figure.legend(loc="outside right upper")
    _save(figure, output / f"accuracy_by_{column}.svg")


def _save(figure, path):
    with open_whole(path) as file:
        figure.savefig(file, format="svg")
