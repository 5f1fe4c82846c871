"""Many recipes tried at once, as parallel tasks of one model."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_memvit.models.build import build
from keras_memvit.models.compose import rename
from keras_memvit.models.task_weights import HEAD
from keras_memvit.recipes.labelled_for_all import LabelledForAll
from keras_memvit.recipes.text_table import text_table
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.tasks.spec import parse_tasks
from keras_memvit.training.divergence import TaskDivergence
from keras_memvit.training.kinds import kind_of
from keras_memvit.training.schedules import paper_optimizer
from keras_memvit.training.store_inputs import is_store


@dataclasses.dataclass
class SweepResult:
    """What `sweep` found.

    Attributes:
        table: list of dicts, one a candidate, best first: `learning_rate`,
            `num_memory_tokens`, `seed`, `val_accuracy` (of a multi-label task
            `val_mean_average_precision`, of a regression `val_mae`), `val_loss`, and
            `diverged`, the epoch from 1 in which its loss was no number any more,
            else None. Those come last, whatever their accuracy: answers that are no
            numbers count as the first class.
        best: dict, the learning rate and token count with the best mean
            validation accuracy (or what stands for it) over seeds (where several
            have it, the least mean loss), that `mean`, and its `spread` (standard
            deviation). Settings of which no seed diverged go first.
        model: a `MemoryViT` of the task as the best candidate's best seed
            trained it.

    Example:

    ```python
    result = keras_memvit.recipes.sweep(backbone, {"digits": 10}, store, val_store)
    result.best["learning_rate"], result.best["mean"]
    result.model.predict(images)
    ```
    """

    table: list[dict[str, float | None]]
    best: dict[str, float]
    model: keras.Model

    def __str__(self) -> str:
        return text_table(self.table)


def sweep(
    backbone: Any,
    task: TaskSpec | dict[str, int],
    train: Any,
    validation: Any,
    *,
    learning_rates: Sequence[float] = (0.03, 0.1, 0.3, 1.0),
    num_memory_tokens: Sequence[int] = (1, 5, 10),
    seeds: Sequence[int] = (0,),
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Callable[[float], keras.optimizers.Optimizer] = paper_optimizer,
    verbose: int = 0,
    preprocessor: Any = None,
) -> SweepResult:
    """Trains every combination at once and returns a table and the best.

    Each candidate is a task of one model, with an optimiser of its own, so it
    ends where it would if trained alone on the same batches; all take from the same
    base stream, and with a `StateStore` not even that is computed.

    Args:
        backbone: whatever `build` takes.
        task: a `TaskSpec`, or a dict `{name: num_classes}` of one task.
        train, validation: a `StateStore` each, arrays `(x, y)`, or a data set of
            such batches, as `data.load` gives.
        learning_rates: floats, peaks of the schedule.
        num_memory_tokens: ints, memory tokens a layer.
        seeds: ints, of the initial memory and head.
        epochs, batch_size, verbose: as in `fit`.
        optimizer: function from a learning rate to an optimiser. Defaults to
            `paper_optimizer`; for a deep readout `adamw_optimizer`, at a
            hundredth of these rates.
        preprocessor: as in `build`, for a task with `head_init="text"`, whose
            candidates all start from that head.

    Returns:
        A `SweepResult`.

    Raises:
        ValueError: if there is not one task, or nothing to try, or every candidate
            diverged.

    Example:

    ```python
    result = keras_memvit.recipes.sweep(backbone, {"digits": 10}, store, val_store)
    print(result)
    keras_memvit.save_task(result.model, "digits", "digits.safetensors")
    ```
    """
    specs = parse_tasks(task if isinstance(task, (dict, list)) else [task])
    grid = list(itertools.product(learning_rates, num_memory_tokens, seeds))
    if len(specs) != 1 or not grid:
        raise ValueError(
            "`sweep` takes one task and at least one of `learning_rates`, "
            f"`num_memory_tokens` and `seeds`. Received the tasks "
            f"{[spec.name for spec in specs]} and {len(grid)} combinations"
        )
    candidates = {f"candidate_{i}": row for i, row in enumerate(grid)}
    model = _model_of(backbone, specs[0], candidates, preprocessor)
    names = list(candidates)
    rates = {name: row[0] for name, row in candidates.items()}
    kind = kind_of(specs[0])
    metric = kind.metrics[0]
    model.compile(optimizer(1.0), metrics=[metric], learning_rate_multipliers=rates)
    stopping = _StopDiverged()
    model.fit(
        *_for_all(train, names),
        epochs=epochs,
        batch_size=batch_size,
        verbose=verbose,
        callbacks=[stopping],
    )
    logs = model.evaluate(
        *_for_all(validation, names),
        batch_size=batch_size,
        return_dict=True,
        verbose=verbose,
    )
    rows = {}
    for name, (rate, tokens, seed) in candidates.items():
        val_loss = logs[f"{name}_loss" if len(names) > 1 else "loss"]
        last = None if np.isfinite(val_loss) else (epochs - 1, 0)
        diverged = stopping.diverged.get(name, last)
        rows[name] = {
            "learning_rate": rate,
            "num_memory_tokens": tokens,
            "seed": seed,
            f"val_{metric}": logs[f"{name}_{metric}"],
            "val_loss": val_loss,
            "diverged": None if diverged is None else diverged[0] + 1,
        }
    if all(row["diverged"] for row in rows.values()):
        raise ValueError(
            "Every candidate of `sweep` diverged: try smaller learning rates. "
            f"Received: learning_rates={tuple(learning_rates)}"
        )
    sign = 1 if kind.smaller_is_better else -1
    best, winner = _best(rows, f"val_{metric}", sign)
    order = _order_by(f"val_{metric}", sign)
    return SweepResult(
        sorted(rows.values(), key=order), best, rename(model, winner, specs[0].name)
    )


def _model_of(backbone, spec, candidates, preprocessor):
    """One task a candidate, started by its seed alone."""
    tasks = [
        dataclasses.replace(spec, name=name, num_memory_tokens=tokens)
        for name, (_, tokens, _) in candidates.items()
    ]
    model = build(backbone, tasks, preprocessor=preprocessor)
    keep = ("class_token", *(HEAD if spec.head_init else ()))
    for name, (_, _, seed) in candidates.items():
        model.task_layers[name].start(seed, keep)
    return model


def _for_all(data, names):
    """Every candidate learns from the same labels."""
    if is_store(data):
        return (data.labelled_for(names),)
    if not isinstance(data, (tuple, list)):
        return (LabelledForAll(data, names),)
    images, labels = data
    return images, dict.fromkeys(names, labels)


class _StopDiverged(TaskDivergence):
    """Trains candidates that diverged no further; the table says which."""

    def say(self, task, epoch, step, value):
        self.model.optimizer.set_finished(self.diverged)
        if len(self.diverged) == len(self.model.trained_tasks):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.optimizer.set_finished(())


def _best(rows, metric="val_accuracy", sign=-1):
    """The settings with the best mean over seeds, and their best candidate."""
    order_of = _order_by(metric, sign)
    groups = {}
    for name, row in rows.items():
        key = (row["learning_rate"], row["num_memory_tokens"])
        groups.setdefault(key, []).append(name)

    def over_seeds(key, what):
        return [rows[name][what] for name in groups[key] if not rows[name]["diverged"]]

    def order(key):  # whole groups before those of which a seed diverged
        values = over_seeds(key, metric)
        if not values:
            return True, math.inf, math.inf
        mean = {metric: statistics.fmean(values)}
        mean["val_loss"] = statistics.fmean(over_seeds(key, "val_loss"))
        missing = len(values) < len(groups[key])
        return missing, *order_of({**mean, "diverged": None})[1:]

    rate, tokens = min(groups, key=order)
    values = over_seeds((rate, tokens), metric)
    best = {
        "learning_rate": rate,
        "num_memory_tokens": tokens,
        "mean": float(np.mean(values)),
        "spread": float(np.std(values)),
    }
    return best, min(groups[rate, tokens], key=lambda name: order_of(rows[name]))


def _order_by(metric, sign):
    def order(row):
        return (row["diverged"] is not None, sign * row[metric], row["val_loss"])

    return order
