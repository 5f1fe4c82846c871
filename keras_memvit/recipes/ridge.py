"""A linear head in closed form, its strength chosen by leaving one out."""

import numpy as np

MAX_PATTERNS = 16  # of which targets are known
STRENGTHS = tuple(10.0**k for k in range(-4, 3))


def fit_ridge(features, labels, num_classes, strengths=STRENGTHS):
    """Ridge regression of one-hot labels on features.

    With centred features `F` and centred one-hot labels `Y` it solves
    `(F^T F + s t I) W = F^T Y`, `t` the mean of `F^T F`'s diagonal. The strength
    `s` is the one with the best accuracy, then the least squared error, where each
    example is predicted by the head of all others, `y - (y - y') / (1 - h)` with `h`
    the diagonal of the hat matrix: nothing is fitted twice.

    Args:
        features: array `(n, F)`.
        labels: ints `(n,)`.
        num_classes: int.
        strengths: floats to choose from.

    Returns:
        `(kernel, bias)`, float32 of shapes `(F, num_classes)`, `(num_classes,)`.

    Reference:
        - Hastie et al., The Elements of Statistical Learning, section 7.10
        - [McDonnell et al., 2023](https://arxiv.org/abs/2307.02251), RanPAC's head

    Example:

    >>> features = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> kernel, bias = fit_ridge(features, np.array([0, 0, 1, 1]), 2)
    >>> (features @ kernel + bias).argmax(-1).tolist()
    [0, 0, 1, 1]
    """
    targets = np.eye(num_classes)[labels]
    return _solve(
        features,
        targets,
        strengths,
        lambda answers: np.mean(answers.argmax(-1) == labels),
    )


def fit_ridge_rows(features, targets, score=None, strengths=STRENGTHS):
    """As `fit_ridge`, of rows of numbers of which some are not known.

    Columns of which the same rows are known are solved together, each pattern by
    itself; of more than 16 patterns, what is not known counts as its column's mean.

    Args:
        features: array `(n, F)`.
        targets: array `(n, C)`, NaN = not known.
        score: optional function of predictions and targets, that the strength is
            chosen by before the squared error.
        strengths: floats to choose from.

    Returns:
        `(kernel, bias)`, float32 of shapes `(F, C)`, `(C,)`.
    """
    features, targets = np.asarray(features), np.array(targets, "float64")
    known = np.isfinite(targets)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    if patterns.shape[1] > MAX_PATTERNS:
        count = np.maximum(known.sum(0), 1)
        means = np.where(known, targets, 0.0).sum(0) / count
        targets = np.where(known, targets, means)
        patterns, which = (
            np.ones((len(targets), 1), bool),
            np.zeros(known.shape[1], int),
        )
    kernel = np.zeros((features.shape[1], targets.shape[1]), "float32")
    bias = np.zeros(targets.shape[1], "float32")
    for i, rows in enumerate(patterns.T):
        columns = which.ravel() == i
        if not rows.any():
            continue
        wanted = targets[rows][:, columns]
        judge = score and (lambda answers, wanted=wanted: score(answers, wanted))
        found = _solve(features[rows], wanted, strengths, judge)
        kernel[:, columns], bias[columns] = found
    return kernel, bias


def _solve(features, targets, strengths, score=None):
    """The head with the best score, then the least error, leaving one out."""
    features = np.asarray(features, "float64")
    centre, mean = features.mean(0), targets.mean(0)
    inputs, wanted = features - centre, targets - mean
    values, vectors = np.linalg.eigh(inputs.T @ inputs)
    rotated = inputs @ vectors  # (n, F)
    products = rotated.T @ wanted  # (F, C)
    scale = max(values.mean(), np.finfo("float64").tiny)
    best = None
    for strength in strengths:
        shrunk = 1.0 / (np.maximum(values, 0.0) + strength * scale)
        leverage = 1.0 / len(inputs) + (rotated**2) @ shrunk
        errors = wanted - rotated @ (shrunk[:, None] * products)
        errors = errors / np.maximum(1.0 - leverage, 1e-9)[:, None]
        rank = (score(targets - errors) if score else 0.0, -np.mean(errors**2))
        if best is None or rank > best[0]:
            best = (rank, vectors @ (shrunk[:, None] * products))
    kernel = best[1]
    return kernel.astype("float32"), (mean - centre @ kernel).astype("float32")
