"""What `learn` found."""

import dataclasses
import pathlib
from typing import Any

import keras

from keras_memvit.data.checks import DataCheck
from keras_memvit.recipes.candidates import Candidate
from keras_memvit.recipes.evidence import Evidence
from keras_memvit.recipes.scoring import SCORING
from keras_memvit.recipes.text_table import text_table


@dataclasses.dataclass
class LearnResult:
    """What `learn` found; prints as a table.

    Attributes:
        name: str, the task's.
        model: a `MemoryViT` with the task, trained on every image.
        candidate: the `Candidate` that was chosen.
        table: list of dicts, one a candidate, best first: `candidate`,
            `learning_rate`, `epochs`, `val_accuracy` (of a multi-label task
            `val_mean_average_precision`, of a regression `val_r2`), `val_loss` (at its
            best temperature; of a regression the mean absolute error), `bytes` of its
            task file. Those that were dropped after the first epochs have fewer
            `epochs`. A single candidate has none of the `val_` columns.
        val_accuracy: float, of the chosen candidate, on images that it did not train
            on then. They chose it, so it is a little higher than on further images.
            None of other kinds, whose `val_score` is the table's, and where no image
            was held out.
        temperature: float. What the head was divided by, so that probabilities are
            calibrated; 1.0 where no image was held out.
        class_names: list of str, by label.
        num_images: int, trained on.
        skipped: list of `(file, reason)`: images that could not be used.
        base_difference: float. How far the base stream is from the backbone's, 0.0.
        backbone: the preset or handle it was given as, or None.
        path: the task file, or None.
        evidence: `Evidence`, the answers to held-out images and the learning curves:
            what `keras_memvit.report` shows. It holds the images' readers, not images.
            None where no image was held out.
        kind: str, of the task.
        check: `DataCheck` of the images, where a report was written, else None.

    Example:

    ```python
    result = keras_memvit.recipes.learn((pictures, labels), backbone, name="birds")
    result.table[0]["candidate"], result.val_accuracy
    result.model.predict(images)["birds"]  # (B, 2)
    ```
    """

    name: str
    model: keras.Model
    candidate: Candidate
    table: list[dict[str, Any]]
    val_accuracy: float | None
    temperature: float
    class_names: list[str]
    num_images: int
    skipped: list[tuple[str, str]]
    base_difference: float
    backbone: str | None = None
    path: pathlib.Path | None = None
    evidence: Evidence | None = None
    kind: str = "single_label"

    @property
    def metric(self) -> str:
        """What chose the candidate."""
        return SCORING[self.kind].metric

    @property
    def val_score(self) -> float | None:
        """The chosen candidate's `metric` on the held-out images, if there were any."""
        return self.table[0].get(f"val_{self.metric}")

    check: DataCheck | None = None

    def __str__(self) -> str:
        count = self.model.task_layers[self.name].spec.num_classes
        noun = {"single_label": "classes", "multi_label": "labels"}
        noun = noun.get(self.kind, "values")
        chosen = (
            f"'{self.name}': {count} {noun}, {self.num_images} images. "
            f"{self._choice_in_words()} Base outputs differ by {self.base_difference}."
        )
        saved = f"\nSaved as {self.path}" if self.path else ""
        return f"{text_table(self.table)}\n{chosen}{saved}"

    def _choice_in_words(self):
        if self.val_score is None:
            return f"{self.candidate.words}, trained on all of them."
        score = {
            "single_label": f"{100 * self.val_score:.1f} %",
            "multi_label": f"mean average precision {self.val_score:.3f}",
            "regression": f"R2 {self.val_score:.3f}",
        }[self.kind]
        return (
            f"Chosen: {self.candidate.words}, {score} on the held-out images that "
            "chose it."
        )

    def card(self) -> dict:
        """What JSON can hold of it."""
        kept = ("name", "table", "val_accuracy", "temperature", "class_names")
        kept += ("num_images", "skipped", "base_difference", "backbone", "kind")
        return {key: getattr(self, key) for key in kept}
