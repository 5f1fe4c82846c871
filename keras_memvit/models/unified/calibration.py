"""Logits of tasks that were trained apart, made comparable."""

import numpy as np
from keras import ops

TEMPERATURES = tuple(2.0 ** (k / 4) for k in range(-40, 33))
STEPS = 500  # of the offsets, whose loss is convex


class Max:
    """`all_c = z_c / T_t + o_t` of the class's task `t`; the largest is the answer.

    Each temperature `T_t` is the likeliest on held-out images of its own task, the
    offsets `o_t` on those of all tasks.
    """

    @staticmethod
    def shapes(sizes, width, num_random_features):
        return {"temperature": (len(sizes),), "offset": (len(sizes),)}

    @staticmethod
    def fit(evidence, held, options):
        temperature, parts = [], []
        for k, logits in enumerate(held.logits):
            own = held.tasks == k
            labels = held.labels[own] - sum(x.shape[1] for x in held.logits[:k])
            temperature.append(best_temperature(logits[own], labels))
            parts.append(logits / temperature[-1])
        evidences = np.stack([_log_sum_exp(part) for part in parts], axis=1)  # (n, K)
        offset = np.zeros(len(parts))
        share = np.eye(len(parts))[held.tasks].mean(0)
        for _ in range(STEPS):
            offset -= _softmax(evidences + offset).mean(0) - share
        offset -= offset.mean()
        return {"temperature": np.array(temperature), "offset": offset}

    @staticmethod
    def logits(w, features, logits):
        return ops.concatenate(
            [x / w["temperature"][k] + w["offset"][k] for k, x in enumerate(logits)],
            axis=-1,
        )


def best_temperature(logits, labels):
    """What logits `(n, C)` are divided by to make the labels likeliest.

    A label counts as `1 - 1 / (n + 2)`, the rest is every class's alike, as Platt has
    it: without, the temperature of a task that is right about all would be 0.
    """
    if not len(labels):
        return 1.0
    logits = np.asarray(logits, "float64")
    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    rest = 1.0 / (len(labels) + 2)
    own = (1.0 - rest) * own + rest * logits.mean(axis=1)
    losses = [np.mean(_log_sum_exp(logits / t) - own / t) for t in TEMPERATURES]
    return TEMPERATURES[int(np.argmin(losses))]


def _log_sum_exp(x):
    top = x.max(axis=-1)
    return top + np.log(np.exp(x - top[..., None]).sum(axis=-1))


def _softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)
