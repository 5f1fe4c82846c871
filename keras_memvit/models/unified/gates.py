"""Cascaded gates: each new task may close the ones before it, image by image."""

import numpy as np
from keras import ops

FIRST = 10.0  # a gate starts all but open: sigmoid(10)
STEPS = 400
RATE = 0.01


class Gates:
    """`all_c = z_c + sum_(t >= j) log sigmoid(f A_tj + b_tj)` of the class's task `j`.

    When task `t` (the second or later) arrives, it gets a gate for each task `j <= t`,
    trained on the frozen features of the images of tasks up to `t`, with the tasks'
    logits as they are; former gates stay. The loss is cross-entropy and, for images of
    task `t`, the margin dampening `relu(max_(old c) p_c - p_y + 1 / (C - 1))`.

    The paper multiplies logits by gates, which *raises* a negative logit as a gate
    closes; a log-gate that is added can only lower it.

    Reference:
        - [Pomponi et al., 2024](https://arxiv.org/abs/2402.01262)
    """

    @staticmethod
    def shapes(sizes, width, num_random_features):
        gates = num_gates(len(sizes))
        return {"gate_kernel": (width, gates), "gate_bias": (gates,)}

    @staticmethod
    def fit(evidence, held, options):
        rows = options["rows"]
        width = rows.features.shape[1]
        kernel = np.zeros((width, num_gates(len(rows.logits))))
        bias = np.full(kernel.shape[1], FIRST)
        for t in range(1, len(rows.logits)):
            _train(kernel, bias, rows, t)
        return {"gate_kernel": kernel, "gate_bias": bias}

    @staticmethod
    def logits(w, features, logits):
        opened = ops.matmul(features, w["gate_kernel"]) + w["gate_bias"]
        opened = ops.log_sigmoid(opened)  # (B, gates)
        found = []
        for j, own in enumerate(logits):
            for gate in gates_of(j, len(logits)):
                own = own + opened[:, gate : gate + 1]
            found.append(own)
        return ops.concatenate(found, axis=-1)


def num_gates(tasks):
    """One of each task for itself and each before it, but of the first."""
    return tasks * (tasks + 1) // 2 - 1


def gates_of(task, tasks):
    """Places of the gates that scale a task's logits, one of each task from it on."""
    return [num_gates(t) + task for t in range(max(task, 1), tasks)]


def margin_dampening(p, labels, old):
    """`relu(max_(old c) p_c - p_y + 1 / (C - 1))` of each row.

    Args:
        p: probabilities `(n, C)`.
        labels: ints `(n,)`.
        old: int. Classes of former tasks, the first of the `C`.
    """
    own = np.take_along_axis(p, labels[:, None], axis=1)[:, 0]
    return np.maximum(p[:, :old].max(axis=1) - own + 1.0 / (p.shape[1] - 1), 0.0)


def _train(kernel, bias, rows, t):
    """Trains the gates of task `t`, the columns that it brings, in place."""
    used = rows.tasks <= t
    f = np.asarray(rows.features[used], "float64")
    parts = [np.asarray(x[used], "float64") for x in rows.logits[: t + 1]]
    labels, new = rows.labels[used], rows.tasks[used] == t
    own = slice(num_gates(t), num_gates(t + 1))
    task_of = np.repeat(np.arange(t + 1), [x.shape[1] for x in parts])  # (C,)
    opened = -np.logaddexp(0.0, -(f @ kernel + bias))  # log sigmoid
    fixed = [
        x + opened[:, [g for g in gates_of(j, t)]].sum(axis=1, keepdims=True)
        for j, x in enumerate(parts)
    ]
    fixed, old = np.concatenate(fixed, axis=1), int((task_of < t).sum())
    targets = np.eye(len(task_of))[labels]
    values = [np.zeros((f.shape[1], t + 1)), np.full(t + 1, FIRST)]
    moments = [[np.zeros_like(v), np.zeros_like(v)] for v in values]
    for step in range(1, STEPS + 1):
        gate = f @ values[0] + values[1]  # (n, t + 1)
        z = fixed - np.logaddexp(0.0, -gate)[:, task_of]
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        dz = p - targets + _dampening_gradient(p, labels, old, new)
        by_task = np.stack([dz[:, task_of == j].sum(1) for j in range(t + 1)], axis=1)
        dgate = by_task / (1.0 + np.exp(gate)) / len(f)
        for value, moment, d in zip(values, moments, (f.T @ dgate, dgate.sum(0))):
            moment[0] = 0.9 * moment[0] + 0.1 * d
            moment[1] = 0.999 * moment[1] + 0.001 * d**2
            mean = moment[0] / (1 - 0.9**step)
            square = moment[1] / (1 - 0.999**step)
            value -= RATE * mean / (np.sqrt(square) + 1e-12)
    kernel[:, own], bias[own] = values


def _dampening_gradient(p, labels, old, new):
    """Of the margin loss, by the logits; zeros for images of former tasks."""
    best = p[:, :old].argmax(axis=1)
    active = (margin_dampening(p, labels, old) > 0) & new
    rows = np.arange(len(p))
    by_p = np.zeros_like(p)
    by_p[rows, best] += 1.0
    by_p[rows, labels] -= 1.0
    by_p *= active[:, None]
    return p * (by_p - (p * by_p).sum(axis=1, keepdims=True))
