"""Logits as the server tells them."""

import numpy as np

TOP = 5  # likeliest classes that are named


def outputs_of(spec, logits):
    """What is answered for one image and task.

    Args:
        spec: the `TaskSpec`.
        logits: `(num_classes,)`.

    Returns:
        A dict of arrays `logits`, `probabilities` `(num_classes,)` and `classes`, the
        up to 5 likeliest class names; of a regression `values` alone.
    """
    logits = np.asarray(logits, "float32")
    if spec.kind == "regression":
        return {"values": logits}
    if spec.kind == "multi_label":
        chances = 0.5 + 0.5 * np.tanh(0.5 * logits)
    else:
        chances = np.exp(logits - logits.max())
        chances = chances / chances.sum()
    names = spec.class_names or [str(label) for label in range(spec.num_classes)]
    best = np.argsort(-logits, kind="stable")[:TOP]
    return {
        "logits": logits,
        "probabilities": chances.astype("float32"),
        "classes": np.array([names[label] for label in best], dtype=object),
    }


def shapes_of(spec):
    """`{output: (numpy type, length)}` of a task."""
    if spec.kind == "regression":
        return {"values": ("float32", spec.num_classes)}
    return {
        "logits": ("float32", spec.num_classes),
        "probabilities": ("float32", spec.num_classes),
        "classes": ("str", min(TOP, spec.num_classes)),
    }
