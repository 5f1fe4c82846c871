"""The methods of the table of tasks that arrive in turn.

Each is a function of a `Stream`: a list by step of `(logits, scores)` of the test
images, over the classes seen, and of how unknown an image is.
"""

import numpy as np
from keras import ops

from keras_memvit.experiments.adapter_retention import AdapterRetention
from keras_memvit.experiments.stream import JOINT
from keras_memvit.models.unified.answer import ALL
from keras_memvit.models.unified.answer import UNKNOWN
from keras_memvit.models.unified.answer import Answer
from keras_memvit.models.unified.evidence import gather
from keras_memvit.models.unify import fit_answer
from keras_memvit.models.unify import hold_out
from keras_memvit.recipes.ridge import fit_ridge


def unified(method):
    """`unify` over the tasks so far: energy, and distance to the nearest class."""

    def answers(stream):
        width = stream.train.features.shape[1]
        count = stream.random_features if method == "ridge" else 0
        options = {
            "method": method,
            "unknown": True,
            "seed": stream.seed,
            "num_random_features": count,
            "backbone": None,
        }
        evidence, found = {}, []
        logits = {n: ops.convert_to_tensor(x) for n, x in stream.test.logits.items()}
        for step, (name, size) in enumerate(stream.sizes.items()):
            rows = stream.task_rows(step)
            own = {n: x[rows] for n, x in stream.train.logits.items()}
            labels = stream.train.labels[rows] - stream.bounds(step)[0]
            parts = hold_out((stream.train.features[rows], labels, own), stream.seed)
            evidence[name] = gather(name, size, *parts, options)
            sizes = {n: e.num_classes for n, e in evidence.items()}
            answer = Answer(method, sizes, width, count)
            arrays = fit_answer(evidence, options)
            w = {n: ops.convert_to_tensor(a, "float32") for n, a in arrays.items()}
            features = ops.convert_to_tensor(stream.test.features)
            answered = answer.answers(w, features, logits)
            pair = answered[ALL], answered[UNKNOWN]
            found.append(tuple(ops.convert_to_numpy(x) for x in pair))
        return found

    return answers


def nearest_mean(stream):
    """100 times the cosine to each class's mean feature."""
    return _with_adapter(stream, None)


def ridge(stream):
    """A ridge head in closed form on the features of all images so far.

    Its statistics are sums, so that it is what joint training of such a head gives.
    """
    found = []
    for step in range(len(stream.sizes)):
        end = stream.bounds(step)[1]
        seen = stream.train.labels < end
        features, labels = stream.train.features[seen], stream.train.labels[seen]
        kernel, bias = fit_ridge(features, labels, end)
        found.append(_with_scores(stream.test.features @ kernel + bias))
    return found


def adapter_retention(retention):
    """One linear adapter edited task after task, see `AdapterRetention`."""
    return lambda stream: _with_adapter(stream, retention)


def joint(stream):
    """One task of all classes, trained on all images at once."""
    return [_with_scores(stream.test.logits[JOINT])]


def _with_adapter(stream, retention):
    learner, found = AdapterRetention(retention, stream.seed), []
    for step in range(len(stream.sizes)):
        rows = stream.task_rows(step)
        learner.learn(stream.train.features[rows], stream.train.labels[rows])
        found.append(_with_scores(learner.logits(stream.test.features)))
    return found


def _with_scores(logits):
    """The less its best answer says, the less known an image is."""
    return logits, -logits.max(axis=1, keepdims=True)


# Name: how tables call it, and the method.
METHODS = {
    "joint": ("joint training, same readout", joint),
    "unify_ridge": ('`unify`, "ridge"', unified("ridge")),
    "unify_task_posterior": ('`unify`, "task_posterior"', unified("task_posterior")),
    "unify_gates": ('`unify`, "gates"', unified("gates")),
    "unify_max": ('`unify`, "max"', unified("max")),
    "ridge": ("ridge on frozen features", ridge),
    "nearest_mean": ("nearest mean of frozen features", nearest_mean),
    "adapter_retention": (
        "adapter with retention, by importance",
        adapter_retention("importance"),
    ),
    "adapter_retention_svd": (
        "adapter with retention, by SVD, with replay",
        adapter_retention("svd"),
    ),
}


def own_logits(name, stream):
    """The tasks' own logits side by side, where a method answers by them, or None."""
    if not name.startswith("unify"):
        return None
    return np.concatenate([stream.test.logits[n] for n in stream.sizes], axis=1)
