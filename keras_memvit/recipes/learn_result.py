"""What `learn` found."""

import dataclasses
import pathlib
from typing import Any

import keras

from keras_memvit.data.checks import DataCheck
from keras_memvit.recipes.candidates import Candidate
from keras_memvit.recipes.evidence import Evidence
from keras_memvit.recipes.text_table import text_table


@dataclasses.dataclass
class LearnResult:
    """What `learn` found; prints as a table.

    Attributes:
        name: str, the task's.
        model: a `MemoryViT` with the task, trained on every image.
        candidate: the `Candidate` that was chosen.
        table: list of dicts, one a candidate, best first: `candidate`,
            `learning_rate`, `epochs`, `val_accuracy`, `val_loss` (at its best
            temperature), `bytes` of its task file. Those that were dropped after the
            first epochs have fewer `epochs`.
        val_accuracy: float, of the chosen candidate, on images that it did not train
            on then. They chose it, so it is a little higher than on further images.
        temperature: float. What the head was divided by, so that probabilities are
            calibrated.
        class_names: list of str, by label.
        num_images: int, trained on.
        skipped: list of `(file, reason)`: images that could not be used.
        base_difference: float. How far the base stream is from the backbone's, 0.0.
        path: the task file, or None.
        evidence: `Evidence`, the answers to held-out images and the learning curves:
            what `keras_memvit.report` shows. It holds the images' readers, not images.
        check: `DataCheck` of the images, where a report was written, else None.
    """

    name: str
    model: keras.Model
    candidate: Candidate
    table: list[dict[str, Any]]
    val_accuracy: float
    temperature: float
    class_names: list[str]
    num_images: int
    skipped: list[tuple[str, str]]
    base_difference: float
    path: pathlib.Path | None = None
    evidence: Evidence | None = None
    check: DataCheck | None = None

    def __str__(self) -> str:
        chosen = (
            f"'{self.name}': {len(self.class_names)} classes, {self.num_images} "
            f"images. Chosen: {self.candidate.words}, {100 * self.val_accuracy:.1f} % "
            f"on the held-out images that chose it. Base outputs differ by "
            f"{self.base_difference}."
        )
        saved = f"\nSaved as {self.path}" if self.path else ""
        return f"{text_table(self.table)}\n{chosen}{saved}"

    def card(self) -> dict:
        """What JSON can hold of it."""
        kept = ("name", "table", "val_accuracy", "temperature", "class_names")
        kept += ("num_images", "skipped", "base_difference")
        return {key: getattr(self, key) for key in kept}
