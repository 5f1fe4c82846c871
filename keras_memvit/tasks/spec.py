"""What a task is: a name, its classes, its memory, and the tasks it sees."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from keras_memvit.tasks.adapter_names import parse_adapter
from keras_memvit.tasks.counts import as_count
from keras_memvit.tasks.head_init import check_head_init
from keras_memvit.tasks.head_inputs import pack_head_inputs
from keras_memvit.tasks.head_inputs import parse_head_inputs
from keras_memvit.tasks.kept import parse_kept
from keras_memvit.tasks.readout_names import get_readout
from keras_memvit.tasks.readout_names import readout_config
from keras_memvit.tasks.reads import check_budget
from keras_memvit.tasks.reads import parse_reads
from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import check_resizing
from keras_memvit.tasks.sees import visible_tasks

BASE = "base"  # the output that belongs to the backbone's own classifier
TASK_KINDS = ("single_label", "multi_label", "regression")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """One task that a frozen Vision Transformer is to learn.

    Args:
        name: str. The task's name: its key in outputs, labels and files.
            Letters, digits, `_` and `-`. `"base"` is reserved.
        num_classes: int. Number of classes, at least 1; of a regression, the length
            of the vector that is answered.
        num_memory_tokens: int. Memory tokens ("cells") per encoder layer, at
            least 1. Defaults to `5`.
        sees: names of the tasks whose class tokens and memory this task may
            attend to (the paper's model extension). The relation is closed
            transitively: who sees "b" also sees what "b" sees. Defaults to
            none (the paper's model concatenation).
        class_names: optional list of `num_classes` strings.
        memory_norm: bool. Whether memory passes through the layer's
            pre-attention norm, as in the paper's figure 2. `False` places it
            after the norm, as the public PyTorch ports do.
        readout: what the head takes from the frozen stream, a name or an object of
            `keras_memvit.readouts`. `"class_token"` (default), as in the paper;
            `"deep"` or `readouts.Deep(num_query_tokens=...)`; `"side"` or
            `readouts.Side(rank=...)`; `"synthesised"` or `readouts.Synthesised(...)`.
            Every task has class token and memory; the others add to these.
            Isolation and the single pass are the same.
        kind: what labels are, and so what loss, metrics and served answers are.
            `"single_label"` (default): one class an image. `"multi_label"`: rows of
            `num_classes` answers of 0 or 1, -1 where one is not known.
            `"regression"`: a number or a vector, NaN where it is not known; the model
            answers in the labels' units.
        num_query_tokens: int. Short for `readouts.Deep(num_query_tokens)`, with
            `readout="deep"`.
        adapter: None, `"ia3"`, `"lora"`, `"grouped"` or `"bottleneck"`: how the task
            changes the frozen weights for what its own class token computes (queries,
            how it reads base tokens' keys and values, output, MLP). Base tokens and
            other tasks run through the weights as they are. It starts as no change.
        adapter_rank: optional int. The rank of `"lora"` (default `4`), the width of
            `"bottleneck"` (`2`), or the channels a group of `"grouped"` reads (`2`).
        feature_norm: bool. Whether the task has a scale and a shift of its own on the
            norms that its class token and memory pass in each layer. They start as no
            change. Defaults to `False`.
        head_init: None or `"text"`: the head starts as the zero-shot classifier of
            `class_names` that the backbone's text tower gives (CLIP, MetaCLIP 2,
            SigLIP), and takes the image embedding beside the class token. `build` makes
            of it the values it starts from and `readouts.ImageEmbedding`.
        head_inputs: optional ascending ints: which of the features that the readouts
            find the head takes, as `keras_memvit.shrink` chose them. Defaults to all.
        sees_budget: optional float in (0, 1]. The share of the memory tokens of the
            tasks it sees, over all layers together, that the task reads at most; it
            learns which. Their class tokens stay visible. Defaults to all.
        reads: optional dict, what becomes of `sees_budget` in a task file: which of
            these tokens are read. The choice is fixed then, and hidden tokens are not
            computed.
        kept: optional dict, what `keras_memvit.recipes.prune` left of the tensors of
            readout and adapter: a bit for each row. Defaults to all.
        resizing: how images of other sizes become the model's where that is done for
            the task (the command, served bytes, `data.predict_folder`): as they were
            in training. `"bilinear"` (default), `"bicubic"`, `"bilinear_crop"` or
            `"bicubic_crop"`, see `keras_memvit.data.load`, whose tasks have it.

    Raises:
        ValueError: if an argument is not as above.

    Example:

    ```python
    digits = keras_memvit.TaskSpec("digits", num_classes=10)
    parity = keras_memvit.TaskSpec("parity", num_classes=2, sees=["digits"])
    age = keras_memvit.TaskSpec("age", num_classes=1, kind="regression")
    ```
    """

    name: str
    num_classes: int
    num_memory_tokens: int = 5
    sees: Sequence[str] = ()
    class_names: Sequence[str] | None = None
    memory_norm: bool = True
    readout: Any = "class_token"
    kind: str = "single_label"
    adapter: str | None = None
    adapter_rank: int | None = None
    feature_norm: bool = False
    head_inputs: Sequence[int] | None = None
    sees_budget: float | None = None
    reads: Any = None
    head_init: str | None = None
    kept: Any = None
    resizing: str = DEFAULT
    # Short for `readouts.Deep`; by keyword, since the place is another argument's.
    num_query_tokens: dataclasses.InitVar[int | None] = dataclasses.field(
        default=None, kw_only=True
    )

    def __post_init__(self, num_query_tokens):
        _check_name(self.name)
        for argument in ("num_classes", "num_memory_tokens"):
            what = f"`{argument}` of task '{self.name}'"
            self._set(argument, as_count(getattr(self, argument), what))
        self._set("sees", _strings(self.name, "sees", self.sees))
        if self.class_names is not None:
            self._set(
                "class_names", _strings(self.name, "class_names", self.class_names)
            )
            if len(self.class_names) != self.num_classes:
                raise ValueError(
                    f"`class_names` of task '{self.name}' must hold num_classes="
                    f"{self.num_classes} names. Received {len(self.class_names)} names."
                )
        for argument in ("memory_norm", "feature_norm"):
            if not isinstance(value := getattr(self, argument), bool):
                raise ValueError(
                    f"`{argument}` of task '{self.name}' must be a bool. "
                    f"Received: {argument}={value!r}"
                )
        if self.kind not in TASK_KINDS:
            raise ValueError(
                f"`kind` of task '{self.name}' must be one of {TASK_KINDS}. "
                f"Received: kind={self.kind!r}"
            )
        self._set("readout", self._parse_readout(num_query_tokens))
        rank = parse_adapter(self.name, self.adapter, self.adapter_rank)
        self._set("adapter_rank", rank)
        check_budget(self.name, self.sees_budget, self.sees)
        self._set("reads", parse_reads(self.name, self.reads))
        self._set("head_inputs", parse_head_inputs(self.name, self.head_inputs))
        self._set("kept", parse_kept(self.name, self.kept))
        check_head_init(self)
        check_resizing(self.resizing, f"`resizing` of task '{self.name}'")

    @property
    def chooses(self) -> bool:
        """Whether the task is choosing yet what it reads of the tasks it sees."""
        return self.sees_budget not in (None, 1) and self.reads is None

    def _parse_readout(self, num_query_tokens):
        readout = self.readout
        if readout == "deep" and num_query_tokens is not None:
            readout = {"name": "deep", "num_query_tokens": num_query_tokens}
        elif num_query_tokens not in (None, 1):  # 1 stands in configs of any readout
            raise ValueError(
                f"`num_query_tokens` of task '{self.name}' needs readout='deep'. "
                f"Received: num_query_tokens={num_query_tokens}, readout={readout!r}"
            )
        try:
            return get_readout(readout)
        except ValueError as error:
            raise ValueError(f"Task '{self.name}': {error}") from error

    def _set(self, field, value):
        object.__setattr__(self, field, value)  # the dataclass is frozen

    def get_config(self) -> dict:
        """Returns the arguments as a JSON-serialisable dict."""
        config = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        config["sees"] = list(self.sees)
        config["readout"] = readout_config(self.readout)
        if self.adapter is None:  # as files were before there were adapters
            del config["adapter"], config["adapter_rank"]
        if self.reads is not None:
            config["reads"] = dict(self.reads)
        if self.kept is not None:
            config["kept"] = dict(self.kept)
        if self.head_inputs is not None:
            config["head_inputs"] = pack_head_inputs(self.head_inputs)
        for name in (
            "feature_norm",
            "head_inputs",
            "sees_budget",
            "reads",
            "head_init",
            "kept",
        ):
            if config[name] in (None, False):
                del config[name]
        if self.resizing == DEFAULT:
            del config["resizing"]
        if self.class_names is not None:
            config["class_names"] = list(self.class_names)
        return config

    @classmethod
    def from_config(cls, config: dict) -> "TaskSpec":
        """Rebuilds a spec from `get_config()`."""
        return cls(**config)


# What `build` and `extend` take as `tasks`.
Tasks = dict[str, int] | TaskSpec | Sequence[TaskSpec]


def parse_tasks(tasks, num_memory_tokens=5, readout="class_token"):
    """Turns the `tasks` argument of `build` into a checked list of specs.

    Args:
        tasks: a dict `{name: num_classes}`, a `TaskSpec`, or a list of
            `TaskSpec`.
        num_memory_tokens: memory tokens per layer for tasks given as a dict.
        readout: readout of tasks given as a dict.

    Returns:
        A list of `TaskSpec` whose names are unique and whose `sees` name
        other tasks of the list without a cycle.
    """
    if isinstance(tasks, TaskSpec):
        tasks = [tasks]
    if isinstance(tasks, dict):
        specs = [
            TaskSpec(name, n, num_memory_tokens, readout=readout)
            for name, n in tasks.items()
        ]
    elif isinstance(tasks, (list, tuple)) and all(
        isinstance(t, TaskSpec) for t in tasks
    ):
        specs = list(tasks)
    else:
        raise ValueError(
            "`tasks` must be a dict {name: num_classes} or a list of TaskSpec. "
            f"Received: tasks={tasks!r}"
        )
    if not specs:
        raise ValueError(
            f"`tasks` must hold at least one task. Received: tasks={tasks!r}"
        )
    names = [spec.name for spec in specs]
    repeated = sorted(
        {name for name in names if names.count(name) > 1}
        if len(set(names)) < len(names)
        else ()
    )
    if repeated:
        raise ValueError(
            f"`tasks` must have unique names. Received more than once: {repeated}"
        )
    visible_tasks(specs)
    return specs


def _check_name(name):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            "A task's `name` must be a string of letters, digits, '_' and '-' "
            f"that starts with a letter or digit. Received: name={name!r}"
        )
    if name == BASE:
        raise ValueError(
            "A task's `name` must not be 'base': that output belongs to the "
            "backbone's own classifier. Received: name='base'"
        )


def _strings(task, argument, value):
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ValueError(
            f"`{argument}` of task '{task}' must be a list of strings. "
            f"Received: {argument}={value!r}"
        )
    return tuple(value)
