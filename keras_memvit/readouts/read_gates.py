"""Which memory tokens a task reads, while that is learned."""

import numpy as np
from keras import ops

from keras_memvit.tasks.reads import SCORES
from keras_memvit.tasks.reads import num_read
from keras_memvit.tasks.reads import seen_tokens
from keras_memvit.tasks.sees import visible_tasks

MEMORY_GATES = "memory/gates"  # of a task whose own memory is gated, (m,)


class ReadGates:
    """The choices of those of a list of `Task` that have not fixed theirs.

    Of the tasks that they see:
    A score a token and layer; the best are read, gate 1, and all others hidden, gate
    0. So what is trained is what is served; the gradient of a gate is that of the
    score's sigmoid, also of hidden tokens. Of their own memory: gates that they have.
    """

    def __init__(self, tasks):
        specs = [task.spec for task in tasks]
        self.gates = {}
        own = {k: task.weights.get(MEMORY_GATES) for k, task in enumerate(tasks)}
        self.own = {k: gates for k, gates in own.items() if gates is not None}
        if not any(spec.chooses for spec in specs):
            return
        tokens, order = seen_tokens(specs), visible_tasks(specs)
        for k, task in enumerate(tasks):
            if task.spec.chooses:
                seen = tokens[task.spec.name]
                ends = dict(zip(seen, np.cumsum(list(seen.values())).tolist()))
                columns = [
                    np.arange(ends[name] - seen[name], ends[name])
                    for name in order[task.spec.name]
                ]  # by name -> in the order of the tasks
                gates = chosen(task.spec, task.weights[SCORES])
                self.gates[k] = ops.take(gates, np.concatenate(columns), axis=1)

    def at(self, layer, layout):
        """A layer's gates for each group of a layout, by what they gate, or None.

        `"seen_memory"` `(G, E)` and `"memory"` `(G, m)`; what is missing is read.

        Tasks that choose are in groups of their own.
        """
        if not self.gates and not self.own:
            return None
        found = []
        for group in layout.groups:
            members = range(layout.num_tasks) if group.tasks is None else group.tasks
            seen = [self.gates.get(int(k)) for k in members]
            own = [self.own.get(int(k), ops.ones(0)) for k in members]
            gates = {}
            if seen[0] is not None:
                width = group.seen_memory.shape[1]
                rows = [_padded(each[layer], width) for each in seen]
                gates["seen_memory"] = ops.stack(rows)
            if any(int(k) in self.own for k in members):
                width = group.memory.shape[1]
                gates["memory"] = ops.stack([_padded(each, width) for each in own])
            found.append(gates or None)
        return found


def _padded(gates, width):
    """(n,) -> (width,); what is padding is masked."""
    return ops.pad(gates, (0, width - gates.shape[0]), constant_values=1)


def chosen(spec, scores):
    """0 and 1 by scores `(L, E)`, with the gradient of their sigmoid."""
    flat = ops.reshape(scores, (-1,))
    order = ops.argsort(-ops.stop_gradient(flat))  # stable: of equal ones the first
    best = ops.argsort(order) < num_read(spec, int(flat.shape[0]))
    soft = ops.sigmoid(flat)
    gates = ops.cast(best, "float32") + (soft - ops.stop_gradient(soft))
    return ops.reshape(gates, scores.shape)
