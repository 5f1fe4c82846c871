"""A perceptual hash: 63 signs of a picture's lowest frequencies."""

import numpy as np

LOWEST = 8


def perceptual_hashes(small):
    """Signs, -1 or 1, by which pictures that look alike differ little.

    The cosine transform of the grey picture, its lowest 8 x 8 frequencies without the
    mean, each against their median. Half the product of two hashes, taken from half
    their length, is the number of signs that differ.

    Args:
        small: array `(n, S, S, 3)` in [0, 255].

    Returns:
        float32 `(n, 63)`.

    Reference:
        - Zauner, Implementation and benchmarking of perceptual image hash functions,
          2010
    """
    small = np.asarray(small)
    places = np.arange(small.shape[1]) + 0.5
    waves = np.cos(np.pi / small.shape[1] * np.outer(np.arange(LOWEST), places))
    waves[0] /= np.sqrt(2)
    grey = small.astype("float32").mean(-1)
    found = (waves @ grey @ waves.T).reshape(len(grey), -1)[:, 1:]
    median = np.median(found, axis=1, keepdims=True)
    return np.where(found > median, 1, -1).astype("float32")


def close_pairs(hashes, most, batch=2048):
    """Pairs `(p, 2)` of rows `i < j` that differ in at most so many signs."""
    found = [np.zeros((0, 2), int)]
    least = hashes.shape[1] - 2 * most
    for start in range(0, len(hashes), batch):
        alike = hashes[start : start + batch] @ hashes[start:].T >= least
        pairs = np.argwhere(np.triu(alike, 1)) + start
        found.append(pairs)
    return np.concatenate(found)
