"""The task stream's attention: one softmax a class token over just its own keys."""

import numpy as np
from keras import ops

from keras_memvit.layers.reshape import reshape

MAX_HIDDEN = 30.0  # how far a hidden score's gradient may stand above what is read


def attend_groups(query, own, base, memory, layout, adapters=None, gates=None):
    """Each class token over its own keys: `(B, K, H, d)` -> `(B, K, H, d)`.

    Args:
        query: scaled queries of the class tokens, `(B, K, H, d)`.
        own: keys and values of the class tokens, each `(B, K, H, d)`.
        base: the layer's `BaseStates`.
        memory: keys and values of all memory, each `(M, H, d)`.
        layout: the `TaskLayout`.
        adapters: optional, the tasks' adapters in this layer.
        gates: optional list, for each group which of its keys are read, see
            `group_weights`.
    """
    gates = gates or [None] * len(layout.groups)
    bases = [base_of_group(base, group, adapters) for group in layout.groups]
    if len(layout.groups) == 1:
        group = layout.groups[0]
        return _attend_group(query, own, bases[0], memory, group, layout, gates[0])
    outputs = [
        _attend_group(of_group(query, group), own, base, memory, group, layout, gate)
        for group, base, gate in zip(layout.groups, bases, gates)
    ]
    return ops.take(ops.concatenate(outputs, axis=1), layout.inverse, axis=1)


def group_weights(query, own_key, base, memory_key, group, layout, gate=None):
    """The softmax itself: a group's attention weights, by what they weigh.

    Args: as of `attend_groups`, keys only, and queries of the group alone,
        `(B, G, H, d)`.
        gate: optional dict by what is gated, as in what this returns, `(G, n)`: 1 where
            a key is read and 0 where it is hidden.

    Returns:
        A dict of `(B, H, G, n)`: `"base"`, `"class_token"` (itself), `"memory"`
        (its own) and, where the group sees any task, `"seen_memory"` and `"seen"`
        (their class tokens).
    """
    own = of_group(own_key, group)
    memory = _rows(memory_key, group.memory)
    scores = {
        "base": base.scores(query),
        "class_token": ops.transpose(
            ops.sum(query * own, axis=-1, keepdims=True), (0, 2, 1, 3)
        ),
        "memory": _mask(
            ops.einsum("bghd,gmhd->bhgm", query, memory), group.memory_padding
        ),
    }
    if group.seen_memory.shape[1]:
        memory = ops.take(_seen(memory_key, layout), group.seen_memory, axis=0)
        scores["seen_memory"] = _mask(
            ops.einsum("bghd,gmhd->bhgm", query, memory), group.seen_memory_padding
        )
    if group.seen.shape[1]:
        token = ops.take(_seen(own_key, layout), group.seen, axis=1)
        scores["seen"] = _mask(
            ops.einsum("bghd,bgshd->bhgs", query, token), group.seen_padding
        )
    sizes = [s.shape[-1] for s in scores.values()]
    joint = ops.cast(ops.concatenate(list(scores.values()), axis=-1), "float32")
    if gate is None:
        weights = ops.softmax(joint, axis=-1)
    else:
        count = query.shape[1]
        gates = {name: ops.ones((count, n)) for name, n in zip(scores, sizes)} | gate
        weights = _gated_softmax(joint, ops.concatenate(list(gates.values()), axis=-1))
    weights = ops.cast(weights, query.dtype)
    ends = np.cumsum(sizes)
    return {
        name: weights[..., end - n : end] for name, n, end in zip(scores, sizes, ends)
    }


def _gated_softmax(scores, gate):
    """`g exp(s) / sum(g exp(s))`: with gates 0 and 1 the softmax over what is read.

    The product hands hidden scores a gradient to be read by, which a mask does not.

    Args:
        scores: `(B, H, G, n)`.
        gate: `(G, n)`.
    """
    read = ops.where(gate > 0, scores, -float("inf"))
    top = ops.stop_gradient(ops.max(read, axis=-1, keepdims=True))
    # Of what is read none is above 0; what is hidden must not overflow.
    exponential = gate * ops.exp(ops.minimum(scores - top, MAX_HIDDEN))
    return exponential / ops.sum(exponential, axis=-1, keepdims=True)


def base_of_group(base, group, adapters):
    """The base tokens as the group's tasks see them."""
    return base if adapters is None else adapters.of_tasks(group.tasks).base(base)


def of_group(x, group):
    """Rows of the group's tasks: (B, K, ...) -> (B, G, ...)."""
    return x if group.tasks is None else ops.take(x, group.tasks, axis=1)


def _attend_group(query, own, base, memory, group, layout, gate):
    """(B, G, H, d) -> (B, G, H, d)."""
    to = group_weights(query, own[0], base, memory[0], group, layout, gate)
    output = base.mean(to["base"])
    own_value = of_group(own[1], group)
    output += ops.transpose(to["class_token"], (0, 2, 1, 3)) * own_value
    value = _rows(memory[1], group.memory)
    output += ops.einsum("bhgm,gmhd->bghd", to["memory"], value)
    if group.seen_memory.shape[1]:
        value = ops.take(_seen(memory[1], layout), group.seen_memory, axis=0)
        output += ops.einsum("bhgm,gmhd->bghd", to["seen_memory"], value)
    if group.seen.shape[1]:
        value = ops.take(_seen(own[1], layout), group.seen, axis=1)
        output += ops.einsum("bhgs,bgshd->bghd", to["seen"], value)
    return output


def _rows(x, index):
    """Rows of memory `(M, H, d)` by `(G, m)` -> `(G, m, H, d)`."""
    if index.size == x.shape[0] and (np.diff(index.flat) == 1).all():
        return reshape(x, (*index.shape, *x.shape[1:]))  # all, in their order
    return ops.take(x, index, axis=0)


def _seen(x, layout):
    """A seen task is attended to, not trained, unless the layout says otherwise."""
    return x if layout.train_seen else ops.stop_gradient(x)


def _mask(scores, padding):
    """-inf at padding, whatever stands there: (B, H, G, S), (G, S)."""
    if padding is None:
        return scores
    return ops.where(padding, ops.cast(-float("inf"), scores.dtype), scores)
