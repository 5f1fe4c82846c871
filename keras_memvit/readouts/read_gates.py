"""Which memory tokens of other tasks a task reads, while it is learned."""

import numpy as np
from keras import ops

from keras_memvit.tasks.reads import SCORES
from keras_memvit.tasks.reads import num_read
from keras_memvit.tasks.reads import seen_tokens
from keras_memvit.tasks.sees import visible_tasks


class ReadGates:
    """The choices of those of a list of `Task` that have not fixed theirs.

    A score a token and layer; the best are read, gate 1, and all others hidden, gate
    0. So what is trained is what is served; the gradient of a gate is that of the
    score's sigmoid, also of hidden tokens.
    """

    def __init__(self, tasks):
        specs = [task.spec for task in tasks]
        self.gates = {}
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
        """A layer's gates for each group of a layout: `(G, E)`, or None for all read.

        Tasks that choose are in groups of their own.
        """
        if not self.gates:
            return None
        found = []
        for group in layout.groups:
            members = range(layout.num_tasks) if group.tasks is None else group.tasks
            own = [self.gates.get(int(k)) for k in members]
            if own[0] is None:
                found.append(None)
                continue
            width = group.seen_memory.shape[1]
            found.append(ops.stack([_padded(gates[layer], width) for gates in own]))
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
