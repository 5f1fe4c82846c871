"""Every figure of `benchmarks/results/*.json` beside its goal, as a Markdown page.

    python benchmarks/table.py        # writes benchmarks/README.md

Nothing is measured here; `run_all.py` does that. What figures a report holds is in
`table_rows.py`, what they should be in `LIMITS`.
"""

import ast
import json

from children import HERE
from table_rows import READERS
from table_rows import Row

# By report and figure: "<=" or ">=", and the goal.
LIMITS = {
    "candidates": {
        "step of 16 candidates over one's": ("<=", 3),
        "first step of 16, s": ("<=", 20),
    },
    "gpu": {
        "training over bare forward": (">=", 0.8),
        "bare forward over the card's product rate": (">=", 0.45),
    },
    "learn": {
        "vit_s14_98: learn, in forward passes": ("<=", 6),
        "vit_b16_224: learn, in forward passes": ("<=", 2.5),
    },
    "loading": {"peak, in copies of the weights": ("<=", 2)},
    "serving_load": {"1,000 tasks, 1 an image: images/s over one task's": (">=", 0.95)},
    "speed": {
        "train": ("<=", 1.10),
        # 1.05 of the tokens: 10 more on 50 and on 197.
        "vit_s14_98: ten tasks": ("<=", 1.26),
        "vit_b16_224: ten tasks": ("<=", 1.10),
        "backbone": ("<=", 1.0),
        "memory": ("<=", 1.25),
        "deep train": ("<=", 1.1),
        "deep ten tasks": ("<=", 1.1),
        "side train": ("<=", 1.1),
        "side ten tasks": ("<=", 1.25),
    },
    "startup": {
        "import keras_memvit, s": ("<=", 0.1),
        "build from KerasHub, s": ("<=", 2),
        "build, s": ("<=", 2),
    },
    "store": {
        "vit_s14_98: epoch from images over one from the store": (">=", 8),
        "vit_s14_98: epoch from images over the store's, side readout": (
            ">=",
            5,
        ),
        "vit_b16_224: epoch from images over one from the store": (">=", 25),
        "vit_b16_224: epoch from images over the store's, side readout": (">=", 15),
    },
}
HEAD = """# What the benchmarks measured

Written by `python benchmarks/table.py` from [results](results), which `python
benchmarks/run_all.py` renews; `python benchmarks/run_all.py --short` only tries whether
every script still runs. Times are ratios unless a unit is named. A goal is
missed "by" the factor that is wanting. The accuracies in `results/table2` and
`results/incremental` have pages of their own, [the
experiment](../docs/experiment.md) and [tasks that arrive in
turn](../docs/incremental.md).
"""


def limit_of(report, figure):
    """`(sign, goal)`, of the figure at its size or at any, or None."""
    limits = LIMITS.get(report, {})
    return limits.get(figure) or limits.get(figure.partition(": ")[2])


def missed_by(value, sign, goal):
    """The factor that is wanting; 1 or less where the goal is met."""
    return value / goal if sign == "<=" else goal / value


def rows_of(name, report):
    """The `Row`s of one report."""
    rows = [Row(*row) for row in READERS[name](report)]
    if not rows:
        raise ValueError(f"`{name}` must hold figures. Received: {list(report)}")
    return rows


def section(name, report):
    """A heading, what and when, and the table of one report."""
    made, rows = report["made"], rows_of(name, report)
    places = list(dict.fromkeys(row.place for row in rows))
    lines = [
        f"## {name}",
        "",
        f"{what_is_measured(name)} `{made['command']}`, {made['date']}, "
        f"{made['machine']} ([results](results/{name}.json)).",
        "",
        f"| | {' | '.join(places)} | goal | |",
        "|---" * (len(places) + 3) + "|",
    ]
    for figure in dict.fromkeys(row.figure for row in rows):
        values = {row.place: row.value for row in rows if row.figure == figure}
        cells = [shown(values[p]) if p in values else "" for p in places]
        limit = limit_of(name, figure)
        goal = f"{limit[0]} {limit[1]:g}" if limit else ""
        lines.append(
            f"| {figure} | {' | '.join(cells)} | {goal} | {verdict(values, limit)} |"
        )
    return "\n".join(lines)


def shown(value):
    """Two digits after the point, where that says something."""
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"


def verdict(values, limit):
    """Whether a goal is met, and if not, where and by what factor."""
    if limit is None:
        return ""
    factors = {place: missed_by(value, *limit) for place, value in values.items()}
    # What is no number meets nothing.
    missed = [f"{place} by {f:.3f}" for place, f in factors.items() if not f <= 1]
    return f"missed: {', '.join(missed)}" if missed else "met"


def what_is_measured(name):
    """The first sentence of the script's docstring."""
    text = (HERE / f"{name}.py").read_text()
    return ast.get_docstring(ast.parse(text)).partition("\n")[0]


def page():
    """The page, a str."""
    reports = {p.stem: json.loads(p.read_text()) for p in results()}
    sections = [section(name, report) for name, report in reports.items()]
    waiting = [f"`{name}`" for name in READERS if name not in reports]
    if waiting:
        sections.append(f"Not measured yet: {', '.join(waiting)}.")
    return "\n\n".join([HEAD.strip(), *sections]) + "\n"


def results():
    return sorted((HERE / "results").glob("*.json"))


if __name__ == "__main__":
    (HERE / "README.md").write_text(page())
