"""Labels that a head which did not see them confidently disagrees with."""

import warnings

import numpy as np

NUM_FOLDS = 5
STRENGTH = 0.03  # scikit-learn's C, on standardised features
CONFIDENT = 0.4  # how much likelier another class must be


def out_of_fold(features, labels, groups, num_classes, seed=0):
    """Class probabilities by heads that did not see the example, nor a copy of it.

    Logistic regression on standardised features, in five folds.

    Args:
        features: `(n, F)`.
        labels: ints `(n,)`.
        groups: ints `(n,)`; what has one number stays in one fold.
        num_classes: int.
        seed: int, orders the folds.

    Returns:
        float64 `(n, num_classes)`; 0 for a class that is in one fold alone.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold = _folds(labels, groups, seed)
    found = np.zeros((len(labels), num_classes))
    for k in range(NUM_FOLDS):
        out = fold == k
        if not out.any() or len(np.unique(labels[~out])) < 2:
            continue
        head = make_pipeline(
            StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near is enough
            head.fit(features[~out], labels[~out])
        found[np.ix_(out, head.classes_)] = head.predict_proba(features[out])
    return found


def _folds(labels, groups, seed):
    """Fold numbers: each class spread evenly, groups whole."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(labels[first[order]], kind="stable")]
    fold = np.empty(len(first), int)
    fold[order] = np.arange(len(first)) % NUM_FOLDS
    return fold[inverse.ravel()]


def disagreements(probabilities, labels):
    """Rows whose label is confidently another, the surest first.

    Another class must be likelier than the label by 0.4: the normalised margin of
    confident learning. A label whose class was never learned is not judged.

    Args:
        probabilities: `(n, C)`, out of fold.
        labels: ints `(n,)`.

    Returns:
        Ints, rows.

    Example:

    >>> disagreements(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]),
    ...               np.array([1, 0, 0])).tolist()
    [0, 2]

    Reference:
        - [Northcutt et al., 2021](https://arxiv.org/abs/1911.00068)
    """
    own = probabilities[np.arange(len(labels)), labels]
    margin = np.where(own > 0, probabilities.max(1) - own, 0.0)
    rows = np.flatnonzero(margin >= CONFIDENT)
    return rows[np.argsort(-margin[rows], kind="stable")]
