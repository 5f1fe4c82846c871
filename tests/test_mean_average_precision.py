"""The metric of multi-label tasks against sorted scores."""

import numpy as np

from keras_memvit.training.mean_average_precision import MeanAveragePrecision


def average_precision(y, scores):
    """By sorting, without ties."""
    y = y[np.argsort(-scores)]
    return np.mean((np.cumsum(y) / (1 + np.arange(len(y))))[y > 0])


def test_mean_average_precision_is_that_of_sorted_scores():
    rng = np.random.default_rng(0)
    y = (rng.random((200, 4)) < [0.5, 0.1, 0.9, 0.0]).astype("float32")
    scores = np.round(rng.normal(y * 1.5, 2.0) * 128) / 128 + 1 / 256  # a bin's middle
    scores += np.argsort(rng.random((200, 4)), axis=0) * 1e-9  # and no ties
    weight = rng.integers(0, 2, (200, 4))
    metric = MeanAveragePrecision()
    for part in np.split(np.arange(200), [50, 100, 170]):
        metric.update_state(y[part], scores[part], sample_weight=weight[part])
    expected = [
        average_precision(y[:, k][weight[:, k] > 0], scores[:, k][weight[:, k] > 0])
        for k in range(3)  # the last has no positive
    ]
    np.testing.assert_allclose(metric.result(), np.mean(expected), atol=0.01)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_an_answer_that_is_no_number_ranks_last():
    metric = MeanAveragePrecision()
    metric.update_state([[1.0], [0.0]], [[float("nan")], [-3.0]])
    assert float(metric.result()) == 0.5
