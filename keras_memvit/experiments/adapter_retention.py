"""The rival "adapter_retention": one linear adapter, edited task after task."""

import numpy as np

SCALE = 100.0  # of cosines, CLIP's
EPOCHS, BATCH_SIZE, RATE = 15, 32, 1e-3
NOISE = 1e-2  # 1e-4 I is added to a class's covariance


class AdapterRetention:
    """`logits_c = 100 cos(W f, m_c)` on frozen features `f`; only `W` is trained.

    `W` starts as the identity. Each task trains it by Adam on its own images, against
    the prototypes `m` of all classes seen; then a part of what it was is kept:

    - `"importance"`: the share `rho` of weights whose change mattered most, by
      `|g (W' - W)|`, `g` the loss's gradient before the task, takes the new value;
    - `"svd"`: see `retain_by_svd`; and while a task is trained, each batch has as many
      samples of former classes, drawn from a Gaussian a class.

    It is our reading of the first work, of which there is no code; of the second its
    loss on neighbouring text embeddings is left out. Prototypes are the classes' mean
    features here, text embeddings there; `rho`, `bias`, epochs and batch size are our
    choice. Old answers change with each task.

    Args:
        retention: `"importance"`, `"svd"`, or None: `W` stays the identity, so that the
            nearest mean by cosine answers.
        seed: int, of batches and samples.
        rho: float, the share of weights that take the new value.
        bias: float, see `retain_by_svd`.

    Reference:
        - [Liu et al., 2023](https://arxiv.org/abs/2310.20348)
        - [Huang et al., 2024](https://arxiv.org/abs/2407.14143), RAPF
    """

    def __init__(self, retention="importance", seed=0, rho=0.5, bias=0.0):
        self.retention = retention
        self.rho, self.bias = rho, bias
        self.rng = np.random.default_rng(seed)
        self.weight = None  # (F, F)
        self.prototypes = None  # (C, F), of length 1
        self.former = []  # features by class; only mean and covariance are used

    def learn(self, features, labels):
        """One more task: `(n, F)`, and labels `(n,)` that go on from the former."""
        features = np.asarray(features, "float64")
        width, start = features.shape[1], len(self.former)
        if self.weight is None:
            self.weight, self.prototypes = np.eye(width), np.zeros((0, width))
        groups = [features[labels == c] for c in range(start, labels.max() + 1)]
        means = _unit(np.array([group.mean(0) for group in groups]))
        self.prototypes = np.concatenate([self.prototypes, means])
        self.former += groups
        if self.retention is None:
            return
        old = self.weight
        importance = gradient(old, features, labels, self.prototypes)
        new = self._train(old, features, labels, start)
        if self.retention == "importance":
            self.weight = retain_important(old, new, importance, self.rho)
        else:
            self.weight = retain_by_svd(old, new, self.bias)

    def logits(self, features):
        """`(n, F)` to `(n, C)`, of the classes seen."""
        return SCALE * _unit(features @ self.weight.T) @ self.prototypes.T

    def _train(self, weight, features, labels, num_former):
        weight, moments, step = weight.copy(), [0.0, 0.0], 0
        for _ in range(EPOCHS):
            order = self.rng.permutation(len(labels))
            for first in range(0, len(order), BATCH_SIZE):
                rows = order[first : first + BATCH_SIZE]
                x, y = features[rows], labels[rows]
                if self.retention == "svd" and num_former:
                    replayed = self._replay(len(rows), num_former)
                    x, y = (np.concatenate(pair) for pair in zip((x, y), replayed))
                g = gradient(weight, x, y, self.prototypes)
                step += 1
                moments[0] = 0.9 * moments[0] + 0.1 * g
                moments[1] = 0.999 * moments[1] + 0.001 * g**2
                mean = moments[0] / (1 - 0.9**step)
                square = moments[1] / (1 - 0.999**step)
                weight -= RATE * mean / (np.sqrt(square) + 1e-8)
        return weight

    def _replay(self, count, num_former):
        """Samples of former classes: a Gaussian of a class's mean and covariance."""
        labels = self.rng.integers(num_former, size=count)
        rows = []
        for label in labels:
            group = self.former[label]
            mean = group.mean(0)
            mixed = self.rng.standard_normal(len(group)) / np.sqrt(len(group))
            noise = NOISE * self.rng.standard_normal(len(mean))
            rows.append(mean + mixed @ (group - mean) + noise)
        return np.array(rows), labels


def gradient(weight, features, labels, prototypes):
    """Of the mean cross-entropy of `100 cos(W f, m)`, by `W` `(F, F)`."""
    adapted = features @ weight.T
    length = np.linalg.norm(adapted, axis=1, keepdims=True)
    unit = adapted / length
    z = SCALE * unit @ prototypes.T
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1.0
    by_unit = SCALE * p @ prototypes / len(labels)
    by_adapted = by_unit - unit * (unit * by_unit).sum(1, keepdims=True)
    return (by_adapted / length).T @ features


def retain_important(old, new, gradient, rho):
    """The share `rho` of weights of the largest `|gradient (new - old)|` is new.

    Example:

    >>> old, new = np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0])
    >>> retain_important(old, new, np.array([9.0, 1.0, 1.0, 1.0]), 0.5)
    array([1., 0., 0., 4.])
    """
    importance = np.abs(gradient * (new - old)).ravel()
    kept = np.argsort(-importance, kind="stable")[: round(rho * importance.size)]
    merged = old.copy()
    merged.ravel()[kept] = new.ravel()[kept]
    return merged


def retain_by_svd(old, new, bias=0.0):
    """`U (P M + S V (1 - M))`: what changed most in the old basis takes the new value.

    `U S V = old`, `P = U^T new`, `M = min(|P - S V| / max|P - S V| + bias, 1)`.
    """
    basis, values, rows = np.linalg.svd(old)
    before, after = values[:, None] * rows, basis.T @ new
    distance = np.abs(after - before)
    top = max(distance.max(), np.finfo("float64").tiny)
    mask = np.minimum(distance / top + bias, 1.0)
    return basis @ (after * mask + before * (1.0 - mask))


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
