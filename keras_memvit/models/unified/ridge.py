"""A ridge head over the classes of all tasks, from statistics that add up."""

import dataclasses

import numpy as np
from keras import ops

from keras_memvit.models.unified.calibration import best_temperature

STRENGTHS = tuple(10.0**k for k in range(-6, 3))


@dataclasses.dataclass
class RidgeStatistics:
    """All that a ridge head needs to know of one task's images.

    Of random features `h (n, M)` and one-hot labels `Y (n, C)`: `n`, `sum h`,
    `h^T h`, `h^T Y` and the images a class. Those of several tasks add up.
    """

    total: np.ndarray  # (M,)
    gram: np.ndarray  # (M, M)
    products: np.ndarray  # (M, C)
    counts: np.ndarray  # (C,)

    @classmethod
    def of(cls, hidden, labels, num_classes):
        """Of random features `(n, M)` and ints `(n,)`."""
        hidden = np.asarray(hidden, "float64")
        targets = np.eye(num_classes)[labels]
        return cls(hidden.sum(0), hidden.T @ hidden, hidden.T @ targets, targets.sum(0))

    @classmethod
    def joined(cls, parts):
        """Of several tasks, whose classes stand one after the other."""
        parts = list(parts)
        return cls(
            sum(part.total for part in parts),
            sum(part.gram for part in parts),
            np.concatenate([part.products for part in parts], axis=1),
            np.concatenate([part.counts for part in parts]),
        )

    def solve(self, strengths=STRENGTHS):
        """The head, its strength by generalised cross-validation.

        With centred statistics and `e` the eigenvalues of `h^T h`, the strength `s`
        (in units of the mean of `e`) is that with the least
        `RSS(s) / (n - 1 - sum e / (e + s))^2`: no image is needed for it.

        Returns:
            `(kernel, bias)`, float64 `(M, C)` and `(C,)`.
        """
        n = self.counts.sum()
        centre, mean = self.total / n, self.counts / n
        gram = self.gram - n * np.outer(centre, centre)
        products = self.products - n * np.outer(centre, mean)
        values, vectors = np.linalg.eigh(gram)
        values = np.maximum(values, 0.0)
        rotated = vectors.T @ products  # (M, C)
        squares = (rotated**2).sum(1)
        around = (self.counts * (1 - mean)).sum()  # of the one-hot labels
        unit = max(values.mean(), np.finfo("float64").tiny)
        best = None
        for strength in strengths:
            shrunk = 1.0 / (values + strength * unit)
            rest = around - (squares * shrunk * (2 - values * shrunk)).sum()
            freedom = max(n - 1 - (values * shrunk).sum(), 1e-9)
            score = max(rest, 0.0) / freedom**2
            if best is None or score < best[0]:
                best = (score, vectors @ (shrunk[:, None] * rotated))
        return best[1], mean - centre @ best[1]


class Ridge:
    """`all = (relu(f P) W + b) / T`, `P` random, `W` and `b` in closed form.

    Reference:
        - [McDonnell et al., 2023](https://arxiv.org/abs/2307.02251), RanPAC
    """

    @staticmethod
    def shapes(sizes, width, num_random_features):
        return {
            "projection": (width, num_random_features),
            "kernel": (num_random_features, sum(sizes)),
            "bias": (sum(sizes),),
        }

    @staticmethod
    def fit(evidence, held, options):
        joined = RidgeStatistics.joined(e.ridge for e in evidence)
        kernel, bias = joined.solve()
        projection = random_projection(held.features.shape[1], options)
        scores = random_features(held.features, projection) @ kernel + bias
        t = best_temperature(scores, held.labels)
        return {"projection": projection, "kernel": kernel / t, "bias": bias / t}

    @staticmethod
    def logits(w, features, logits):
        hidden = ops.relu(ops.matmul(features, w["projection"]))
        return ops.matmul(hidden, w["kernel"]) + w["bias"]


def random_projection(width, options):
    """float32 `(F, M)`, the same under one seed."""
    rng = np.random.default_rng(options["seed"])
    shape = (width, options["num_random_features"])
    return (rng.standard_normal(shape) / np.sqrt(width)).astype("float32")


def random_features(features, projection):
    """`relu(f P)`, in NumPy: (n, F) -> (n, M)."""
    return np.maximum(np.asarray(features, "float32") @ projection, 0.0)
