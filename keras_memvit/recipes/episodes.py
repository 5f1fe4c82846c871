"""Few-shot episodes: which images are shown, and which are asked about."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Episode:
    """One draw of classes and images.

    Attributes:
        support: ints `(S,)`, rows of the images that are shown with their labels.
        support_labels: ints `(S,)`, from 0 to `ways - 1`.
        query, query_labels: the same of the images that are asked about.
        ways: int, the number of classes.
    """

    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray
    ways: int


def draw_episode(labels, shots, ways, num_queries, seed, number):
    """The episode of this number, whatever other episodes are drawn.

    Fewer shots are some of those of more, and where a class has images enough, the
    queries are the same ones: shots can be compared image by image.

    Args:
        labels: ints `(n,)`; rows of -1 are never drawn.
        shots: int, support images a class.
        ways: int, classes an episode, or None for all.
        num_queries: int, queries a class; fewer where a class has no more images.
        seed, number: ints.

    Returns:
        An `Episode`.
    """
    rng = np.random.default_rng([seed, number])
    classes = np.unique(labels[labels >= 0])
    if ways is not None:
        classes = np.sort(rng.permutation(classes)[:ways])
    support, query = [], []
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        support.append(rows[len(rows) - shots :][::-1])
        query.append(rows[: min(num_queries, len(rows) - shots)])
    places = np.arange(len(classes))
    return Episode(
        np.concatenate(support),
        np.repeat(places, shots),
        np.concatenate(query),
        np.repeat(places, [len(rows) for rows in query]),
        len(classes),
    )
