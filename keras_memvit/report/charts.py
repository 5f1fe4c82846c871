"""The report's charts."""

import math

import numpy as np

from keras_memvit.report.svg import drawing
from keras_memvit.report.svg import element
from keras_memvit.report.svg import line
from keras_memvit.report.svg import rectangle
from keras_memvit.report.svg import round_numbers
from keras_memvit.report.svg import scale
from keras_memvit.report.svg import shortened
from keras_memvit.report.svg import text

WIDTH = 420
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 30, 40
COLOURS = 8  # classes `c0` to `c7` of the style sheet


def accuracy_bars(rows):
    """Bars with their 95 % intervals.

    Args:
        rows: of `accuracies`.
    """
    at = scale(0, 1, 0, WIDTH)
    parts = []
    for i, row in enumerate(rows):
        top = 46 * i + 14
        words = "{:.1f} % ({:.1f} to {:.1f})".format(
            *(100 * row[key] for key in ("accuracy", "low", "high"))
        )
        parts += [
            text(0, top, row["name"], class_="name"),
            text(WIDTH, top, words, text_anchor="end"),
            rectangle(0, top + 7, WIDTH, 16, class_="track"),
            rectangle(
                0, top + 7, at(row["accuracy"]), 16, class_="c0" if not i else "c7"
            ),
            *whisker(at(row["low"]), at(row["high"]), top + 15),
        ]
    return drawing(WIDTH, 46 * len(rows) - 4, *parts, label="Accuracies")


def whisker(start, end, middle):
    """A level interval."""
    return [
        line(start, middle, end, middle, class_="whisker"),
        line(start, middle - 4, start, middle + 4, class_="whisker"),
        line(end, middle - 4, end, middle + 4, class_="whisker"),
    ]


def curves(lines, label, *, shares=False):
    """Lines over epochs.

    Args:
        lines: list of `(values, number of the colour, chosen)`; what is not finite
            is left out.
        label: str, of the upward axis.
        shares: bool. Whether values are shares of 1, shown in percent.
    """
    height = 270
    finite = [v for values, *_ in lines for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, min(high + margin, 1.0 if shares else math.inf)
    last = max([len(values) for values, *_ in lines] + [2])
    x = scale(1, last, LEFT, WIDTH - RIGHT)
    y = scale(low, high, height - BOTTOM, TOP)
    parts = []
    digits = 0 if high - low > 0.05 else 1
    for value in round_numbers(low, high):
        words = f"{100 * value:.{digits}f} %" if shares else f"{value:g}"
        parts.append(line(LEFT, y(value), WIDTH - RIGHT, y(value), class_="grid"))
        parts.append(text(LEFT - 6, y(value) + 4, words, text_anchor="end"))
    for value in round_numbers(1, last, 8):
        if value == int(value):
            words = f"{value:g}"
            parts.append(text(x(value), height - 22, words, text_anchor="middle"))
    parts.append(text(WIDTH - RIGHT, height - 4, "epoch", text_anchor="end"))
    parts.append(text(0, 14, label, class_="name"))
    for values, number, chosen in sorted(lines, key=lambda one: one[-1]):
        points = [(x(i + 1), y(v)) for i, v in enumerate(values) if math.isfinite(v)]
        style = f"line s{number % COLOURS}{' chosen' if chosen else ''}"
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(element("polyline", points=path, class_=style))
        if points:
            a, b = points[-1]
            dot = f"c{number % COLOURS}"
            parts.append(
                element("circle", cx=a, cy=b, r=4 if chosen else 2.5, class_=dot)
            )
    return drawing(WIDTH, height, *parts, label=f"{label} by epoch")


def reliability_diagram(bins):
    """Accuracy over confidence, and how many answers there are of each.

    Args:
        bins: of `reliability`.
    """
    side, foot = 250, 60
    x = scale(0, 1, LEFT, WIDTH - RIGHT)
    y = scale(0, 1, side, TOP)
    parts = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        words = f"{value:.0%}".replace("%", " %")
        parts.append(line(LEFT, y(value), WIDTH - RIGHT, y(value), class_="grid"))
        parts.append(text(LEFT - 6, y(value) + 4, words, text_anchor="end"))
        place = {"text_anchor": "end" if value == 1 else "middle"}
        parts.append(text(x(value), side + foot + 34, words, **place))
    most = max(bin["count"] for bin in bins)
    tall = scale(0, most, 0, foot - 18)
    for bin in bins:
        left, wide = x(bin["left"]) + 2, x(bin["right"]) - x(bin["left"]) - 4
        title = element(
            "title",
            f"{bin['count']} answers, {bin['confidence']:.1%} sure, "
            f"{bin['accuracy']:.1%} right",
        )
        top = y(bin["accuracy"])
        parts.append(rectangle(left, top, wide, side - top, title, class_="c0 soft"))
        size = max(tall(bin["count"]), 1)
        bottom = side + foot + 16
        parts.append(rectangle(left, bottom - size, wide, size, title, class_="c7"))
        middle = x(bin["confidence"])
        parts.append(
            line(middle, y(bin["low"]), middle, y(bin["high"]), class_="whisker")
        )
        dot = {"cx": middle, "cy": top, "r": 4}
        parts.append(element("circle", **dot, class_="c0"))
        place = {"text_anchor": "middle", "class_": "small"}
        parts.append(
            text(left + wide / 2, bottom - size - 4, str(bin["count"]), **place)
        )
    parts.append(line(x(0), y(0), x(1), y(1), class_="ideal"))
    parts.append(text(0, 14, "share that was right", class_="name"))
    place = {"text_anchor": "end", "class_": "name"}
    parts.append(text(WIDTH - RIGHT, side + foot + 54, "how sure it was", **place))
    return drawing(WIDTH, side + foot + 60, *parts, label="Confidence and accuracy")


def confusion_chart(matrix, class_names):
    """A square of counts: a row a label, a column an answer.

    Args:
        matrix: ints `(C, C)`.
        class_names: list of `C` str.
    """
    count = len(matrix)
    cell = max(30 if count <= 15 else 22 if count <= 40 else 640 // count, 2)
    names = [shortened(name, 14) for name in class_names] if count <= 40 else []
    margin = 12 + 7.4 * max([len(name) for name in names] + [2])
    size = margin + cell * count + 2
    parts = [rectangle(margin, margin, cell * count, cell * count, class_="track")]
    for i, name in enumerate(names):
        middle = margin + cell * (i + 0.5)
        turn = f"rotate(-60 {middle:.1f} {margin - 6})"
        parts.append(text(margin - 6, middle + 4, name, text_anchor="end"))
        parts.append(text(middle, margin - 6, name, transform=turn))
    totals = np.maximum(matrix.sum(1), 1)
    for i, j in np.argwhere(matrix):
        share = matrix[i, j] / totals[i]
        title = element(
            "title",
            f"{class_names[i]}: {matrix[i, j]} of {totals[i]} answered "
            f"{class_names[j]}",
        )
        x, y = margin + cell * int(j), margin + cell * int(i)
        gap = 1 if cell > 10 else 0
        style = {
            "class_": "c0" if i == j else "c1",
            "fill_opacity": f"{0.12 + 0.88 * share:.2f}",
        }
        parts.append(rectangle(x, y, cell - gap, cell - gap, title, **style))
        if cell >= 22:
            parts.append(
                text(
                    x + cell / 2,
                    y + cell / 2 + 4,
                    str(matrix[i, j]),
                    text_anchor="middle",
                    class_="on" if share > 0.55 else "count",
                )
            )
    # Turned names of the last columns reach beyond them.
    width = size + (margin / 2 if names else 0)
    return drawing(width, size, *parts, label="Confusion matrix", class_="chart matrix")
