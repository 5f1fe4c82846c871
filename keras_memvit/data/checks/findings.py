"""What a data check finds."""

import dataclasses
import json
import os
from typing import Any

from keras_memvit.data.image_files import printable
from keras_memvit.files.atomic import write_json

SHOWN = 10  # findings of a kind in the printed table


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A file that gives no image."""

    file: str
    reason: str

    def __str__(self):
        return f"{printable(self.file)}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Files that show one picture.

    Attributes:
        kind: `"exact"`, the same pixels; or `"near"`, after a small crop, another
            brightness, size or compression.
        files, parts, classes: of each of them.
        distance: the largest distance that joined two of them, 0.0 where exact.
    """

    kind: str
    files: list[str]
    parts: list[str]
    classes: list[str]
    distance: float

    @property
    def leaks(self) -> bool:
        """Whether it is in more than one part, such as train and test."""
        return len(set(self.parts)) > 1

    @property
    def disagrees(self) -> bool:
        """Whether it has more than one label."""
        return len(set(self.classes)) > 1

    def __str__(self):
        labels = f" with the labels {self.classes}" if self.disagrees else ""
        return f"{self.kind}: {', '.join(map(printable, self.files))}{labels}"


@dataclasses.dataclass(frozen=True)
class WrongLabel:
    """An image whose label a head that did not see it confidently disagrees with."""

    file: str
    part: str
    label: str
    suggested: str
    probability: float
    label_probability: float

    def __str__(self):
        return (
            f"{printable(self.file)}: {self.label!r} ({self.label_probability:.0%}), "
            f"looks like {self.suggested!r} ({self.probability:.0%})"
        )


@dataclasses.dataclass(frozen=True)
class Outlier:
    """An image that is far from every other.

    Attributes:
        distance: to its nearest images, over what is usual in the data.
    """

    file: str
    part: str
    label: str
    distance: float

    def __str__(self):
        return (
            f"{printable(self.file)} ({self.label!r}): {self.distance:.1f} times as "
            "far from its nearest images as usual"
        )


@dataclasses.dataclass(frozen=True)
class TinyClass:
    """A class with few images in a part."""

    name: str
    part: str
    count: int

    def __str__(self):
        return f"{self.name!r} has {self.count} images in {self.part!r}"


@dataclasses.dataclass(frozen=True)
class OddSize:
    """An image much smaller or much longer than usual."""

    file: str
    height: int
    width: int
    reason: str

    def __str__(self):
        size = f"{self.width} x {self.height}"
        return f"{printable(self.file)}: {size} pixels, {self.reason}"


@dataclasses.dataclass
class DataCheck:
    """What `check` found; prints as a table.

    Attributes:
        counts: dict from part to a dict from class name to the number of images.
        damaged: list of `Damaged`.
        duplicates: list of `Duplicates` inside one part.
        leaks: list of `Duplicates` across parts.
        wrong_labels: list of `WrongLabel`, the surest first; None without a backbone.
        outliers: list of `Outlier`, the farthest first; None without a backbone.
        tiny_classes: list of `TinyClass`.
        odd_sizes: list of `OddSize`.
        left_out: list of `(path, reason)`: what was not looked at.

    Example:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (4, 20, 20), "uint8")
    >>> found = keras_memvit.data.check((images, [0, 1, 0, 1]), min_images=2)
    >>> found.num_findings, found.counts
    (0, {'all': {'0': 2, '1': 2}})
    """

    counts: dict[str, dict[str, int]]
    damaged: list[Damaged]
    duplicates: list[Duplicates]
    leaks: list[Duplicates]
    wrong_labels: list[WrongLabel] | None
    outliers: list[Outlier] | None
    tiny_classes: list[TinyClass]
    odd_sizes: list[OddSize]
    left_out: list[tuple[str, str]]

    @property
    def num_images(self) -> int:
        """Images that were looked at, all parts together."""
        return sum(sum(part.values()) for part in self.counts.values())

    @property
    def findings(self) -> dict[str, list]:
        """What was looked for, in words, to what was found."""
        found = {
            "damaged files": self.damaged,
            "duplicates": self.duplicates,
            "leaks between parts": self.leaks,
            "suspected wrong labels": self.wrong_labels,
            "outliers": self.outliers,
            "tiny classes": self.tiny_classes,
            "odd sizes": self.odd_sizes,
        }
        return {words: found for words, found in found.items() if found is not None}

    @property
    def num_findings(self) -> int:
        """All of them together; 0 where nothing was found."""
        return sum(map(len, self.findings.values()))

    def __str__(self) -> str:
        classes = {name for part in self.counts.values() for name in part}
        lines = [f"{self.num_images} images in {len(classes)} classes"]
        for words, found in self.findings.items():
            lines.append(f"{words:<24}{len(found):>6}")
            lines += [f"    {finding}" for finding in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"    and {len(found) - SHOWN} more")
        if self.wrong_labels is None:
            lines.append("Wrong labels and outliers are looked for with a backbone.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold of it: every field, findings as dicts."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """`to_dict()` as JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def save(self, path: str | os.PathLike) -> None:
        """Writes `to_dict()` as JSON, whole or not at all."""
        write_json(path, self.to_dict())
