"""One temperature that makes probabilities mean what they say."""

import numpy as np

TEMPERATURES = np.geomspace(0.01, 100.0, 401)


def cross_entropy(logits, labels):
    """The mean of `-log softmax(logits)[label]`; infinite if a logit is not finite."""
    logits = np.asarray(logits, "float64")
    if not np.isfinite(logits).all():
        return float("inf")
    logits = logits - logits.max(-1, keepdims=True)
    right = np.take_along_axis(logits, np.asarray(labels)[:, None], -1)[:, 0]
    return float(np.mean(np.log(np.exp(logits).sum(-1)) - right))


def binary_cross_entropy(logits, labels):
    """The mean of `-log p(label)` with `p = sigmoid(logits)`, by cell.

    Args:
        logits: array `(n, C)`.
        labels: `(n, C)` of 0 and 1; -1 is left out.
    """
    logits, labels = np.asarray(logits, "float64"), np.asarray(labels)
    if not np.isfinite(logits).all():
        return float("inf")
    losses = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-abs(logits)))
    known = labels >= 0
    return float(losses[known].mean()) if known.any() else 0.0


def fit_temperature(logits, labels, loss=cross_entropy):
    """The `T` for which `softmax(logits / T)` has the least cross-entropy.

    Args:
        logits: array `(n, C)` of examples that were not trained on.
        labels: ints `(n,)`.
        loss: of logits and labels; `binary_cross_entropy` for sigmoids.

    Returns:
        A float between 0.01 and 100.

    Reference:
        - [Guo et al., 2017](https://arxiv.org/abs/1706.04599), section 4.2
    """
    losses = [loss(np.asarray(logits) / t, labels) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])
