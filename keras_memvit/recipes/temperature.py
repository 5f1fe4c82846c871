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


def fit_temperature(logits, labels):
    """The `T` for which `softmax(logits / T)` has the least cross-entropy.

    Args:
        logits: array `(n, C)` of examples that were not trained on.
        labels: ints `(n,)`.

    Returns:
        A float between 0.01 and 100.

    Reference:
        - [Guo et al., 2017](https://arxiv.org/abs/1706.04599), section 4.2
    """
    losses = [cross_entropy(np.asarray(logits) / t, labels) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])
