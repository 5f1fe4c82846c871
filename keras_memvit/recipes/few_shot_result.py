"""What `few_shot` measured."""

import dataclasses
from typing import Any

import numpy as np

from keras_memvit.recipes.text_table import text_table

NORMAL_95 = 1.959964  # of the normal distribution


@dataclasses.dataclass
class FewShotResult:
    """What `few_shot` measured; prints as a table.

    Attributes:
        table: list of dicts, one a method and number of shots: `method`, `shots`,
            `accuracy` (mean over episodes), `interval` (half the width of its 95 %
            interval, `1.96 s / sqrt(episodes)`; None of one episode), `episodes`, and
            `gain`, `gain_interval`: the same of the difference to the nearest mean in
            the same episodes, None where that was not asked for.
        accuracies: dict from `(method, shots)` to floats `(episodes,)`.
        ways: int, classes an episode.
        num_queries: int, queries a class at most.
        backbone: str, what the frozen states are of: its width, depth and
            fingerprint.

    Example:

    ```python
    options = {"episodes": 50, "methods": ["mean", "ridge"]}
    result = keras_memvit.recipes.few_shot(
        backbone, (pictures, labels), shots=1, **options
    )
    print(result)
    print(result.accuracies["ridge", 1].mean())
    ```
    """

    table: list[dict[str, Any]]
    accuracies: dict[tuple[str, int], np.ndarray]
    ways: int
    num_queries: int
    backbone: str

    def __str__(self) -> str:
        return (
            f"{text_table(self.table)}\n{self.ways} classes an episode, up to "
            f"{self.num_queries} queries a class; {self.backbone}"
        )


def rows_of(accuracies):
    """The table of accuracies by `(method, shots)`."""
    rows = []
    for (method, shots), values in accuracies.items():
        mean, interval = _mean_and_interval(values)
        gain = gain_interval = None
        plain = accuracies.get(("mean", shots))
        if plain is not None and method != "mean":
            gain, gain_interval = _mean_and_interval(values - plain[: len(values)])
        rows.append(
            {
                "method": method,
                "shots": shots,
                "accuracy": mean,
                "interval": interval,
                "episodes": len(values),
                "gain": gain,
                "gain_interval": gain_interval,
            }
        )
    return rows


def _mean_and_interval(values):
    if len(values) < 2:
        return float(np.mean(values)), None
    interval = NORMAL_95 * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(interval)
