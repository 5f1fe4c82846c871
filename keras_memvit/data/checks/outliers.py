"""Pictures that are far from all others."""

import numpy as np

NEIGHBOURS = 5
FAR = 5.0  # robust deviations of the log distance


def neighbour_distances(features, groups):
    """Mean distance to the nearest pictures that are no copies, over the median.

    Features are centred, scaled to one length, and compared by their angle, so that
    the distance is `sqrt(2 - 2 cos)`.

    Args:
        features: `(n, F)`.
        groups: ints `(n,)`; what has one number is one picture.

    Returns:
        Floats `(n,)`.
    """
    features = features - features.mean(0)
    features = features / np.maximum(np.linalg.norm(features, axis=1), 1e-9)[:, None]
    groups = np.asarray(groups)
    found = np.empty(len(features))
    for start in range(0, len(features), 1024):
        rows = slice(start, start + 1024)
        squared = np.maximum(2 - 2 * features[rows] @ features.T, 0)
        squared[groups[rows, None] == groups] = np.inf
        count = min(NEIGHBOURS, len(features) - 1)
        nearest = np.partition(squared, count - 1, axis=1)[:, :count]
        nearest = np.where(np.isfinite(nearest), nearest, np.nan)
        with np.errstate(invalid="ignore"):
            found[rows] = np.sqrt(np.nanmean(nearest, axis=1))
    return found / max(np.nanmedian(found), 1e-9)


def far_rows(distances):
    """Rows whose distance is no usual one, the farthest first.

    The logarithm is 5 median absolute deviations (scaled to a normal one's standard
    deviation) above the median.

    >>> far_rows(np.array([1.0, 1.1, 0.9, 1.05, 0.95, 4.0])).tolist()
    [5]
    """
    logs = np.log(np.maximum(distances, 1e-9))
    median = np.median(logs)
    deviation = 1.4826 * np.median(abs(logs - median))
    rows = np.flatnonzero(logs > median + FAR * max(deviation, 0.02))
    return rows[np.argsort(-distances[rows], kind="stable")]
