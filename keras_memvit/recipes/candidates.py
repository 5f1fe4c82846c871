"""What `learn` tries."""

import dataclasses
from typing import Any

import numpy as np

from keras_memvit.models.task_weights import task_shapes
from keras_memvit.readouts import Deep
from keras_memvit.tasks.readout_names import get_readout
from keras_memvit.tasks.spec import TaskSpec


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to learn a task.

    Args:
        readout: a name or an object of `keras_memvit.readouts`.
        num_memory_tokens: int. Memory tokens a layer. Defaults to `5`.
        learning_rate: float, AdamW's peak; None is a head in closed form on the
            frozen class token, which is not trained by steps.
        weight_decay: float, AdamW's.
        head_rate: float. The factor of the head's learning rate.

    Example:

    >>> candidate = keras_memvit.recipes.Candidate("side", learning_rate=6e-3)
    >>> candidate.readout
    Side(rank=16, num_heads=1)
    """

    readout: Any = "class_token"
    num_memory_tokens: int = 5
    learning_rate: float | None = 3e-3
    weight_decay: float = 0.01
    head_rate: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "readout", get_readout(self.readout))

    def spec(self, name, num_classes, class_names=None, kind="single_label", **options):
        """The `TaskSpec` of it, with further options of one."""
        return TaskSpec(
            name,
            num_classes,
            self.num_memory_tokens,
            class_names=class_names or None,
            readout=self.readout,
            kind=kind,
            **options,
        )

    @property
    def words(self):
        """Its name in tables."""
        if self.learning_rate is None:
            return "ridge head"
        return {"class_token": "memory"}.get(self.readout.name, self.readout.name)


RIDGE = Candidate(num_memory_tokens=1, learning_rate=None)
FIXED = Candidate("side", learning_rate=6e-3, weight_decay=0.1)
AUTO = (
    RIDGE,
    FIXED,
    Candidate(Deep(4), learning_rate=3e-3, head_rate=0.3),
    Candidate("class_token", learning_rate=1e-2),
    Candidate("side", learning_rate=3e-3, weight_decay=0.1),
    Candidate(Deep(4), learning_rate=1e-3),
    Candidate("class_token", learning_rate=3e-3),
)


def parse_candidates(candidates, backbone, num_classes, budget, kind="single_label"):
    """The candidates within the budget, the ridge head first; or a single one.

    Raises:
        ValueError: if `candidates` is neither `"auto"` nor a `Candidate` or a
            sequence of them, or the budget has room for none.
    """
    alone = isinstance(candidates, Candidate)
    if isinstance(candidates, str) and candidates == "auto":
        candidates = AUTO
    elif alone:
        candidates = [candidates]
    if isinstance(candidates, str) or not all(
        isinstance(c, Candidate) for c in candidates
    ):
        raise ValueError(
            "`candidates` must be 'auto', a `recipes.Candidate` or a list of them. "
            f"Received: candidates={candidates!r}"
        )
    if not alone:
        candidates = [RIDGE, *(c for c in candidates if c.learning_rate is not None)]
    limit = budget.get("bytes", float("inf"))
    sizes = [file_bytes(c, backbone, num_classes, kind) for c in candidates]
    found = [c for c, size in zip(candidates, sizes) if size <= limit]
    if not found:
        raise ValueError(
            f"`budget` of {limit:,} bytes has room for no candidate: the smallest "
            f"takes {min(sizes):,}"
        )
    return found[: budget.get("candidates", len(found))]


def file_bytes(candidate, backbone, num_classes, kind="single_label"):
    """Bytes of the tensors in its task file."""
    shapes = task_shapes(candidate.spec("task", num_classes, kind=kind), backbone)
    return 4 * sum(int(np.prod(shape)) for shape in shapes.values())
