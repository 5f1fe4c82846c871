"""Which memory tokens of the tasks it sees a task reads, layer by layer.

A task's `reads` has, for itself and for each task that it sees, a code of two bits for
each layer's memory tokens: hidden, read, or its own.
"""

import dataclasses
import math
import numbers

import numpy as np

from keras_memvit.tasks.packed import pack
from keras_memvit.tasks.packed import unpack
from keras_memvit.tasks.sees import visible_tasks

HIDDEN, READ, OWN = 0, 1, 2
SCORES = "reads/scores"  # a task's tensor while it chooses, (L, tokens that it sees)


def check_budget(task, budget, sees):
    """Raises a `ValueError` if a task's `sees_budget` is not as `TaskSpec` says."""
    if budget is None:
        return
    number = isinstance(budget, numbers.Real) and not isinstance(budget, bool)
    if not (number and 0.0 < budget <= 1.0):
        raise ValueError(
            f"`sees_budget` of task '{task}', the share of memory tokens that it reads "
            "of the tasks it sees, must be a number above 0 and at most 1. "
            f"Received: sees_budget={budget!r}"
        )
    if not sees:
        raise ValueError(
            f"`sees_budget` of task '{task}' needs `sees`, the tasks that it reads. "
            f"Received: sees_budget={budget!r}, sees=()"
        )


def parse_reads(task, reads):
    """`reads` as a hashable tuple of `(name, packed codes)`, by name.

    Args:
        task: str. The task's name, for errors.
        reads: None, a dict from task name to packed codes, or what this returns.
    """
    if reads is None:
        return None
    try:
        pairs = tuple(sorted(dict(reads).items()))
        for name, text in ((task, dict(pairs).get(task)), *pairs):
            if not unpack(text, 2).size:
                raise ValueError(f"There is nothing of '{name}'")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`reads` of task '{task}' must be a dict from task names, its own among "
            "them, to packed codes. "
            f"Received: reads={reads!r:.200}"
        ) from error
    return pairs


def num_read(spec, num_tokens):
    """How many of the tokens that a task sees it may read.

    Raises:
        ValueError: if there is none.
    """
    count = math.floor(spec.sees_budget * num_tokens + 1e-9)
    if count < 1:
        raise ValueError(
            f"`sees_budget` of task '{spec.name}' must leave at least one of the "
            f"{num_tokens} memory tokens that it sees, of all layers. "
            f"Received: sees_budget={spec.sees_budget!r}"
        )
    return count


def seen_tokens(specs):
    """For each task's name the tasks it sees, by name: a dict to memory tokens."""
    counts = {spec.name: spec.num_memory_tokens for spec in specs}
    return {
        task: {name: counts[name] for name in sorted(seen)}
        for task, seen in visible_tasks(specs).items()
    }


def fixed_specs(specs, values):
    """Specs in which what tasks have chosen to read is fixed.

    Args:
        specs: list of all of a model's `TaskSpec`.
        values: dict from task name to its arrays, with the scores of those who choose.
    """
    seen = seen_tokens(specs) if any(spec.chooses for spec in specs) else {}
    return [
        _fixed(spec, values[spec.name][SCORES], seen[spec.name])
        if spec.chooses
        else spec
        for spec in specs
    ]


def _fixed(spec, scores, seen):
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"Task '{spec.name}' has values that are not finite in '{SCORES}'. Train "
            "it again with a smaller learning rate."
        )
    best = np.argsort(-scores.ravel(), kind="stable")[: num_read(spec, scores.size)]
    codes = np.full(scores.size, HIDDEN, "uint8")
    codes[best] = READ
    ends = np.cumsum(list(seen.values()))[:-1]
    parts = np.split(codes.reshape(scores.shape), ends, axis=1)
    reads = {name: pack(part, 2) for name, part in zip(seen, parts)}
    own = (scores.shape[0], spec.num_memory_tokens)
    reads[spec.name] = pack(np.full(own, OWN), 2)
    return dataclasses.replace(spec, reads=reads)


def codes_of(spec, name, shape):
    """A task's codes of the memory of one it sees, or of its own: uint8 `(L, m)`."""
    codes = unpack(dict(spec.reads)[name], 2)
    size = math.prod(shape)
    return codes[:size].reshape(shape)


def num_layers_of(spec):
    """int. Of how many layers a task's `reads` are: those of its own memory."""
    own = unpack(dict(spec.reads)[spec.name], 2)
    return int((own == OWN).sum()) // spec.num_memory_tokens


def check_reads(specs, num_layers):
    """Raises a `ValueError` if `reads` are not of the tasks that are there.

    Args:
        specs: list of all of a model's `TaskSpec`.
        num_layers: int, the backbone's.
    """
    fixed = [spec for spec in specs if spec.reads is not None]
    seen = seen_tokens(specs) if fixed else {}
    for spec in fixed:
        counts = {**seen[spec.name], spec.name: spec.num_memory_tokens}
        if sorted(counts) != [name for name, _ in spec.reads]:
            raise ValueError(
                f"`reads` of task '{spec.name}' must be of itself and of the tasks it "
                f"sees, {sorted(counts)}. Received: {[n for n, _ in spec.reads]}"
            )
        for name, text in spec.reads:
            size, codes = num_layers * counts[name], unpack(text, 2)
            legal = (OWN,) if name == spec.name else (HIDDEN, READ)
            whole = len(codes) == 4 * math.ceil(size / 4) and not codes[size:].any()
            if not (whole and np.isin(codes[:size], legal).all()):
                raise ValueError(
                    f"`reads` of task '{spec.name}' must have one of the codes {legal} "
                    f"for each of {num_layers} x {counts[name]} memory tokens of "
                    f"'{name}'. Received: {codes[:20].tolist()}"
                )
