"""One Gaussian a class over frozen features, of one covariance."""

import dataclasses

import numpy as np
from keras import ops

from keras_memvit.models.unified.calibration import best_temperature

SHRINKAGE = 0.1  # towards a multiple of the identity


@dataclasses.dataclass
class GaussianStatistics:
    """Of features `f (n, F)`: images a class, `sum f` a class, `f^T f`."""

    counts: np.ndarray  # (C,)
    sums: np.ndarray  # (C, F)
    gram: np.ndarray  # (F, F)

    @classmethod
    def of(cls, features, labels, num_classes):
        """Of features `(n, F)` and ints `(n,)`."""
        features = np.asarray(features, "float64")
        targets = np.eye(num_classes)[labels]
        return cls(targets.sum(0), targets.T @ features, features.T @ features)

    @classmethod
    def joined(cls, parts):
        """Of several tasks, whose classes stand one after the other."""
        parts = list(parts)
        return cls(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.sums for part in parts]),
            sum(part.gram for part in parts),
        )

    def whitened(self):
        """A map in which the classes' shared covariance is the identity.

        Returns:
            The map `(F, F)` and the classes' means in it, `(C, F)`.
        """
        counts = np.maximum(self.counts, 1.0)[:, None]
        means = self.sums / counts
        within = self.gram - means.T @ (means * counts)
        within = within / max(self.counts.sum(), 1.0)
        level = max(np.trace(within) / len(within), 1e-12)
        within = (1 - SHRINKAGE) * within + SHRINKAGE * level * np.eye(len(within))
        values, vectors = np.linalg.eigh(within)
        whitening = vectors / np.sqrt(np.maximum(values, 1e-12 * level))
        return whitening, means @ whitening

    def arrays(self):
        """`whitened` as a dict, as layers hold it."""
        whitening, means = self.whitened()
        return {"whitening": whitening, "means": means}


def squared_distances(xp, w, features):
    """Mahalanobis distances to all classes, squared: (B, F) -> (B, C).

    Args:
        xp: `numpy` or `keras.ops`.
        w: dict of `"whitening"` and `"means"`.
        features: `(B, F)`.
    """
    x = xp.matmul(features, w["whitening"])
    squares = xp.sum(x**2, axis=-1)[:, None] + xp.sum(w["means"] ** 2, axis=-1)
    distances = squares - 2 * xp.matmul(x, xp.transpose(w["means"]))
    return xp.maximum(distances, 0.0)


class TaskPosterior:
    """`all_c = log p(f | t) / T + log p(c | t, image)` of the class's task `t`.

    `p(f | t)` is the mean of the Gaussians of the task's classes over the frozen
    features, `p(c | t, image)` the task's own softmax.
    """

    @staticmethod
    def shapes(sizes, width, num_random_features):
        return {
            "whitening": (width, width),
            "means": (sum(sizes), width),
            "temperature": (),
        }

    @staticmethod
    def fit(evidence, held, options):
        w = GaussianStatistics.joined(e.gaussian for e in evidence).arrays()
        sizes = [e.num_classes for e in evidence]
        scores = -0.5 * squared_distances(np, w, held.features.astype("float64"))
        parts = np.split(scores, np.cumsum(sizes)[:-1], axis=1)
        tops = [part.max(axis=1, keepdims=True) for part in parts]
        tasks = np.stack(
            [
                top[:, 0] + np.log(np.exp(part - top).mean(axis=1))
                for part, top in zip(parts, tops)
            ],
            axis=1,
        )
        return {**w, "temperature": np.array(best_temperature(tasks, held.tasks))}

    @staticmethod
    def logits(w, features, logits):
        scores = -0.5 * squared_distances(ops, w, features)
        found, start = [], 0
        for own in logits:
            size = own.shape[-1]
            part = ops.logsumexp(
                scores[:, start : start + size], axis=-1, keepdims=True
            ) - np.log(size)
            found.append(part / w["temperature"] + ops.log_softmax(own, axis=-1))
            start += size
        return ops.concatenate(found, axis=-1)
