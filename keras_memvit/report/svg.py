"""Drawings as text: elements, scales and round numbers."""

import html
import math


class Drawing(str):
    """SVG that a page takes as it is; every text in it was escaped."""

    def __html__(self):
        return str(self)


def element(tag, *content, **attributes):
    """An element as a `Drawing`.

    Args:
        tag: str.
        *content: `Drawing`s, and other values, which are escaped.
        **attributes: values are escaped, floats rounded; `class_` is `class`, and `_`
            in a name `-`. None leaves one out.

    Example:

    >>> element("text", "a < b", x=1.26, text_anchor="end")
    '<text x="1.3" text-anchor="end">a &lt; b</text>'
    """
    words = [tag]
    for name, value in attributes.items():
        if value is not None:
            name = name.rstrip("_").replace("_", "-")
            words.append(f'{name}="{html.escape(_text(value))}"')
    inside = "".join(
        part if isinstance(part, Drawing) else html.escape(_text(part))
        for part in content
    )
    return Drawing(f"<{' '.join(words)}>{inside}</{tag}>")


def drawing(width, height, *content, label, class_="chart"):
    """The outermost element.

    Args:
        width, height: of the coordinates, and of the drawing where there is room.
        *content: `Drawing`s.
        label: str, what it shows, for those who cannot see it.
    """
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label=label,
        class_=class_,
    )


def line(x1, y1, x2, y2, **attributes):
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def text(x, y, content, **attributes):
    """A line of text."""
    return element("text", content, x=x, y=y, **attributes)


def rectangle(x, y, width, height, *content, **attributes):
    """A rectangle; what it contains may be its `<title>`."""
    size = {"width": max(width, 0), "height": max(height, 0)}
    return element("rect", *content, x=x, y=y, **size, **attributes)


def scale(low, high, start, end):
    """The function that maps `low` to `start` and `high` to `end`."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def round_numbers(low, high, most=5):
    """Round numbers between two, at most so many.

    >>> round_numbers(0.0, 1.0)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> round_numbers(3, 41)
    [10.0, 20.0, 30.0, 40.0]
    """
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    for step in (power * size for size in (1, 2, 2.5, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(number * step, 10) for number in range(first, last + 1)]
    return [low, high]


def shortened(words, most):
    """Words with an ellipsis for what is beyond."""
    return words if len(words) <= most else words[: most - 1] + "…"


def _text(value):
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)
