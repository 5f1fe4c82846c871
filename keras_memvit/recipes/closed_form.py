"""Few-shot answers in closed form on frozen features."""

import numpy as np

from keras_memvit.recipes.ridge import STRENGTHS
from keras_memvit.recipes.ridge import fit_ridge


def nearest_mean_scores(features, episode):
    """Minus the squared distance to each class' mean of unit-length features.

    Args:
        features: array `(n, D)` of all images.
        episode: `Episode`.

    Returns:
        Array `(Q, ways)`.
    """
    support, query = (_unit(features[rows]) for rows in _rows(episode))
    labels = episode.support_labels
    means = np.stack([support[labels == c].mean(0) for c in range(episode.ways)])
    return -((query[:, None] - means[None]) ** 2).sum(-1)


def ridge_scores(features, episode):
    """Answers of `fit_ridge` on the support images.

    Of fewer images than features it is solved in the space that they span: there
    `F^T F` has the same trace, so strengths are rescaled to mean the same.
    """
    support, query = (np.asarray(features[rows], "float64") for rows in _rows(episode))
    width, centre = support.shape[1], support.mean(0)
    support, query, strengths = support - centre, query - centre, STRENGTHS
    if len(support) < width:
        axes = np.linalg.svd(support, full_matrices=False)[2].T  # (D, S)
        support, query = support @ axes, query @ axes
        strengths = [s * support.shape[1] / width for s in STRENGTHS]
    labels = episode.support_labels
    kernel, bias = fit_ridge(support, labels, episode.ways, strengths)
    return query @ kernel + bias


def _rows(episode):
    return episode.support, episode.query


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
