"""What `learn` tries."""

import dataclasses
from typing import Any

from keras_memvit.readouts import Deep
from keras_memvit.recipes.prune import num_bytes
from keras_memvit.recipes.prune import smallest
from keras_memvit.tasks.adapter_names import ADAPTERS
from keras_memvit.tasks.adapter_names import parse_adapter
from keras_memvit.tasks.readout_names import get_readout
from keras_memvit.tasks.spec import TaskSpec


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to learn a task.

    Args:
        readout: a name or an object of `keras_memvit.readouts`.
        num_memory_tokens: int. Memory tokens a layer. Defaults to `5`.
        learning_rate: float, AdamW's peak; None is the ridge head in closed form on
            the frozen class token, whatever the other arguments.
        weight_decay: float, AdamW's.
        head_rate: float. The factor of the head's learning rate.
        budget: optional int. The bytes that its task is pruned to once trained, see
            `keras_memvit.recipes.prune`.
        adapter, adapter_rank: as in `TaskSpec`.

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
    budget: int | None = None
    adapter: str | None = None
    adapter_rank: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "readout", get_readout(self.readout))
        rank = parse_adapter("candidate", self.adapter, self.adapter_rank)
        object.__setattr__(self, "adapter_rank", rank)

    def spec(self, name, num_classes, class_names=None, kind="single_label", **options):
        """The `TaskSpec` of it, with further options of one."""
        return TaskSpec(
            name,
            num_classes,
            self.num_memory_tokens,
            class_names=class_names or None,
            readout=self.readout,
            adapter=self.adapter,
            adapter_rank=self.adapter_rank,
            kind=kind,
            **options,
        )

    @property
    def parts(self):
        """What it trains: candidates that share it differ in rates only."""
        return self.readout, self.num_memory_tokens, self.adapter, self.adapter_rank

    @property
    def words(self):
        """Its name in tables."""
        if self.learning_rate is None:
            return "ridge head"
        name = {"class_token": "memory"}.get(self.readout.name, self.readout.name)
        if self.adapter is not None:
            name = f"{name} + {self.adapter}"
            if self.adapter_rank != ADAPTERS[self.adapter]:
                name = f"{name} of rank {self.adapter_rank}"
        return name if self.budget is None else f"{name}, pruned"


RIDGE = Candidate(num_memory_tokens=1, learning_rate=None)
FIXED = Candidate("side", 5, 6e-3, 0.1, head_rate=0.3, adapter="lora")
AUTO = (
    RIDGE,
    FIXED,
    Candidate(Deep(4), 5, 3e-3, 0.1, head_rate=0.3),
    Candidate("side", 5, 3e-3, 0.1, head_rate=0.3, adapter="lora"),
)
# The paper's, best on none of six data sets, and the smallest but for the ridge head.
MEMORY = Candidate("class_token", 5, 1e-2, 0.1)


def parse_candidates(candidates, backbone, num_classes, budget, kind="single_label"):
    """The candidates within the budget, the ridge head first; or a single one.

    What is larger and can be pruned to it is, see `Candidate.budget`.

    Raises:
        ValueError: if `candidates` is neither `"auto"` nor a `Candidate` or a
            sequence of them, or the budget has room for none.
    """
    alone = isinstance(candidates, Candidate)
    if isinstance(candidates, str) and candidates == "auto":
        candidates = (*AUTO, MEMORY) if "bytes" in budget else AUTO
    elif alone:
        candidates = [candidates]
    if isinstance(candidates, str) or not all(
        isinstance(c, Candidate) for c in candidates
    ):
        raise ValueError(
            "`candidates` must be 'auto', a `recipes.Candidate` or a list of them. "
            f"Received: candidates={candidates!r}"
        )
    candidates = [c for c in candidates if c.learning_rate is not None]
    if not alone or not candidates:
        candidates.insert(0, RIDGE)
    limit = budget.get("bytes", float("inf"))
    found, least = [], []
    for c in candidates:
        size = file_bytes(c, backbone, num_classes, kind)
        least.append(size)
        if c.learning_rate is not None:
            possible = smallest(c.spec("task", num_classes, kind=kind), backbone)
            least[-1] = possible
            if c.budget is not None and c.budget < possible:
                raise ValueError(
                    f"`budget` of the candidate '{c.words}' must be at least "
                    f"{possible:,} bytes. Received: {c.budget:,}"
                )
        if size <= limit:
            found.append(c)
        elif least[-1] <= limit:
            found.append(dataclasses.replace(c, budget=int(limit)))
    if not found:
        raise ValueError(
            f"`budget` of {limit:,} bytes has room for no candidate: the smallest "
            f"takes {min(least):,}"
        )
    return found[: budget.get("candidates", len(found))]


def file_bytes(candidate, backbone, num_classes, kind="single_label"):
    """Bytes of the tensors in its task file; where it is pruned, at most."""
    size = num_bytes(candidate.spec("task", num_classes, kind=kind), backbone)
    return size if candidate.budget is None else min(size, candidate.budget)
