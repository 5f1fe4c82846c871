"""Pictures that are there more than once."""

import numpy as np

from keras_memvit.data.checks.alignment import aligned_distance
from keras_memvit.data.checks.hashes import close_pairs
from keras_memvit.data.checks.hashes import perceptual_hashes

MOST_SIGNS = 14  # of 63: what may differ for two pictures to be compared further
MOST_PAIRS = 50_000  # compared further: of more, those with the fewest such signs
NEAR = 0.06  # aligned distance up to which they are one picture


def duplicate_groups(looks):
    """Groups of rows that show one picture.

    Args:
        looks: list of `Look`.

    Returns:
        List of `(rows, distance)` with at least two rows each: 0.0 where all have
        the same pixels, else the largest aligned distance that joined two of them.
    """
    first = {}  # content to the row that stands for it
    stands_for = np.array([first.setdefault(x.content, i) for i, x in enumerate(looks)])
    rows = np.unique(stands_for)
    small = np.stack([looks[row].small for row in rows])
    pairs = _closest(perceptual_hashes(small))
    distances = aligned_distance(small[pairs[:, 0]], small[pairs[:, 1]])
    unsure = distances > NEAR  # a crop is explained in one direction only
    again = pairs[unsure]
    distances[unsure] = aligned_distance(small[again[:, 1]], small[again[:, 0]])
    near = distances <= NEAR
    return _joined(stands_for, rows[pairs[near]], distances[near])


def _closest(hashes):
    """Pairs to compare further: time must not grow with the square of the images."""
    pairs = close_pairs(hashes, MOST_SIGNS)
    if len(pairs) <= MOST_PAIRS:
        return pairs
    alike = np.einsum("pi,pi->p", hashes[pairs[:, 0]], hashes[pairs[:, 1]])
    kept = np.argpartition(-alike, MOST_PAIRS)[:MOST_PAIRS]
    return pairs[np.sort(kept)]


def _joined(stands_for, pairs, distances):
    """Everything that a chain of pairs joins."""
    root = stands_for.copy()
    largest = np.zeros(len(root))
    for (a, b), distance in zip(pairs, distances):
        a, b = root[a], root[b]
        largest[a] = max(largest[a], largest[b], distance)
        root[root == b] = a
    found = []
    for which in np.unique(root):
        rows = np.flatnonzero(root == which)
        if len(rows) > 1:
            found.append((rows, float(largest[which])))
    return found
