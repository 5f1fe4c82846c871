"""The numbers of a report: accuracies, their intervals, classes, calibration."""

import numpy as np

NUM_BINS = 10  # of the reliability diagram
QUANTILE = 1.959964  # of the normal distribution, for 95 %


def softmax(logits):
    """Probabilities `(n, C)`."""
    logits = np.asarray(logits, "float64")
    found = np.exp(logits - logits.max(-1, keepdims=True))
    return found / found.sum(-1, keepdims=True)


def wilson(hits, count):
    """The 95 % interval of a share.

    Args:
        hits: int, or ints of any shape.
        count: int of at least 1, or ints of the same shape.

    Returns:
        `(low, high)`.

    Example:

    >>> [round(float(bound), 3) for bound in wilson(8, 10)]
    [0.49, 0.943]

    Reference:
        - Wilson, Probable inference, the law of succession, 1927
    """
    share, square = hits / count, QUANTILE**2
    middle = share + square / (2 * count)
    half = QUANTILE * np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return (middle - half) / (1 + square / count), (middle + half) / (
        1 + square / count
    )


def paired_gain(ours, theirs):
    """How much more often we are right on the same images, with a 95 % interval.

    Args:
        ours, theirs: bools `(n,)`, which images were answered rightly.

    Returns:
        `(gain, low, high)`, Wald's interval of the difference of paired shares.
    """
    difference = ours.astype(int) - theirs.astype(int)
    gain = difference.mean()
    half = QUANTILE * difference.std() / np.sqrt(len(difference))
    return gain, gain - half, gain + half


def accuracies(evidence):
    """Rows of the comparison: `name`, `accuracy`, `low`, `high`, `right`."""
    labels = evidence.labels
    answers = {
        "This task": evidence.logits.argmax(-1),
        "Head alone": evidence.head_logits.argmax(-1),
        "Largest class": np.full(len(labels), evidence.majority),
    }
    rows = []
    for name, answer in answers.items():
        right = answer == labels
        low, high = wilson(int(right.sum()), len(labels))
        row = {"name": name, "accuracy": right.mean(), "low": low, "high": high}
        rows.append(row | {"right": right})
    return rows


def by_class(labels, answers, class_names):
    """One dict a class: `name`, `images`, `answers`, `precision`, `recall`, `f1`.

    A share of nothing is None.
    """
    from sklearn.metrics import precision_recall_fscore_support

    numbers = np.arange(len(class_names))
    scores = precision_recall_fscore_support(
        labels, answers, labels=numbers, zero_division=np.nan
    )
    said = np.bincount(answers, minlength=len(class_names))
    rows = []
    for name, precision, recall, f1, count, times in zip(class_names, *scores, said):
        shares = {"precision": precision, "recall": recall, "f1": f1}
        shares = {key: None if np.isnan(x) else float(x) for key, x in shares.items()}
        rows.append(
            {"name": name, "images": int(count), "answers": int(times)} | shares
        )
    return rows


def confusion(labels, answers, num_classes):
    """Ints `(C, C)`, a row a label, a column an answer."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, answers, labels=np.arange(num_classes))


def confused_pairs(matrix, class_names, most=8):
    """`(label, answer, count, of)` of the most frequent mistakes."""
    off = matrix - np.diag(np.diag(matrix))
    places = np.argsort(-off, axis=None, kind="stable")[:most]
    pairs = [np.unravel_index(place, off.shape) for place in places]
    return [
        (class_names[i], class_names[j], int(off[i, j]), int(matrix[i].sum()))
        for i, j in pairs
        if off[i, j]
    ]


def reliability(probabilities, labels):
    """How often answers of one confidence are right.

    Returns:
        `(bins, error)`: a dict for each of ten equal bins that is not empty, with
        `left`, `right`, `count`, `confidence`, `accuracy`, `low`, `high`; and the mean
        gap between confidence and accuracy, weighted by count.

    Reference:
        - [Guo et al., 2017](https://arxiv.org/abs/1706.04599), section 2
    """
    sure = probabilities.max(-1)
    right = probabilities.argmax(-1) == labels
    numbers = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    bins = []
    for number in np.unique(numbers):
        mine = numbers == number
        low, high = wilson(int(right[mine].sum()), int(mine.sum()))
        bins.append(
            {
                "left": number / NUM_BINS,
                "right": (number + 1) / NUM_BINS,
                "count": int(mine.sum()),
                "confidence": sure[mine].mean(),
                "accuracy": right[mine].mean(),
                "low": low,
                "high": high,
            }
        )
    gaps = [bin["count"] * abs(bin["confidence"] - bin["accuracy"]) for bin in bins]
    return bins, float(np.sum(gaps) / len(labels))
