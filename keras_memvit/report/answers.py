"""The pictures worth looking at: the worst mistakes, the least certain answers."""

import numpy as np

from keras_memvit.report.measures import softmax
from keras_memvit.report.pictures import as_seen
from keras_memvit.report.pictures import attention_maps
from keras_memvit.report.pictures import data_uri
from keras_memvit.report.pictures import drawn_over
from keras_memvit.report.pictures import readable

MOST = 12  # pictures of a kind


def worst_mistakes(probabilities, labels):
    """Rows answered wrongly, those that were surest of it first.

    >>> worst_mistakes(np.array([[0.4, 0.6], [0.1, 0.9], [0.7, 0.3]]),
    ...                np.array([0, 0, 0])).tolist()
    [1, 0]
    """
    wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
    own = probabilities[wrong, labels[wrong]]
    return wrong[np.argsort(own, kind="stable")]


def least_certain(probabilities):
    """All rows, those whose two likeliest classes are nearest each other first."""
    two = np.sort(probabilities, axis=-1)[:, -2:]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")


def picture_cards(result, short):
    """The cards of both kinds, `(worst, uncertain)`: lists of dicts.

    Args:
        result: a `LearnResult`.
        short: function from a file's name to what is shown of it.
    """
    evidence = result.evidence
    probabilities = softmax(evidence.logits)
    worst = readable(evidence, worst_mistakes(probabilities, evidence.labels), MOST)
    shown = {row for row, _ in worst}
    others = [row for row in least_certain(probabilities) if int(row) not in shown]
    uncertain = readable(evidence, others, MOST)
    both = worst + uncertain
    of = (result.model, result.name)
    seen = as_seen(*of, [pixels for _, pixels in both])
    drawn = map(drawn_over, seen, attention_maps(*of, seen))
    cards = [
        _card(result, probabilities, row, pixels, attention, short)
        for (row, pixels), attention in zip(both, drawn)
    ]
    return cards[: len(worst)], cards[len(worst) :]


def _card(result, probabilities, row, pixels, attention, short):
    names, label = result.class_names, int(result.evidence.labels[row])
    first, second = np.argsort(-probabilities[row], kind="stable")[:2]
    return {
        "file": short(result.evidence.names[row]),
        "picture": data_uri(pixels),
        "attention": data_uri(attention),
        "label": names[label],
        "label_probability": float(probabilities[row, label]),
        "answer": names[first],
        "probability": float(probabilities[row, first]),
        "second": names[second],
        "second_probability": float(probabilities[row, second]),
        "right": bool(first == label),
    }
