"""What `unify` fits, equation by equation."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.models.unified.gates import _dampening_gradient
from keras_memvit.models.unified.gates import margin_dampening
from keras_memvit.models.unified.gaussians import GaussianStatistics
from keras_memvit.models.unified.gaussians import squared_distances
from keras_memvit.models.unified.ridge import RidgeStatistics
from keras_memvit.models.unified.unified_vit import features_and_logits


@pytest.mark.parametrize("variant", ["vit", "rotary", "clip", "no_class_token"])
def test_features_are_the_frozen_class_token_and_mean_patch(variant):
    shape = {"rotary": (48, 80, 3)}.get(variant, (32, 48, 3))
    backbone = make_backbone(variant, image_shape=shape)
    model = keras_memvit.build(backbone, {"a": 2})
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype="uint8")
    found, _ = features_and_logits(model, [keras.ops.convert_to_tensor(images)])
    *_, (_, last) = backbone.base_layers(keras.ops.convert_to_tensor(images))
    patches = keras.ops.convert_to_numpy(last.normed)[:, backbone.num_base_tokens :]
    expected = [patches.mean(axis=1)]
    if variant != "no_class_token":
        expected.insert(0, keras.ops.convert_to_numpy(backbone(images))[:, 0])
    for part, want in zip(np.split(found, len(expected), axis=1), expected):
        want = want - want.mean(-1, keepdims=True)
        want = want / np.sqrt((want**2).mean(-1, keepdims=True) + 1e-6)
        np.testing.assert_allclose(part, want, atol=2e-4)


def test_the_ridge_head_is_the_solution_of_its_equations():
    rng = np.random.default_rng(0)
    hidden, labels = rng.normal(size=(40, 6)), np.arange(40) % 3
    hidden[:, 0] += labels
    statistics = RidgeStatistics.of(hidden, labels, 3)
    f, y = hidden - hidden.mean(0), np.eye(3)[labels]
    y = y - y.mean(0)
    unit, scores = np.trace(f.T @ f) / 6, {}
    for strength in (1e-3, 0.1, 10.0):
        inverse = np.linalg.inv(f.T @ f + strength * unit * np.eye(6))
        expected = inverse @ f.T @ y
        kernel, bias = statistics.solve([strength])
        np.testing.assert_allclose(kernel, expected, atol=1e-10)
        np.testing.assert_allclose(
            bias, np.eye(3)[labels].mean(0) - hidden.mean(0) @ kernel
        )
        freedom = 40 - 1 - np.trace(f @ inverse @ f.T)
        scores[strength] = np.sum((y - f @ expected) ** 2) / freedom**2
    best = min(scores, key=scores.get)
    np.testing.assert_array_equal(
        statistics.solve(list(scores))[0], statistics.solve([best])[0]
    )


def test_margin_dampening_is_what_one_counts_by_hand():
    p = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4]])
    found = margin_dampening(p, np.array([2, 2, 2]), old=2)
    np.testing.assert_allclose(found, [0.7, 0.0, 0.5])


def test_its_gradient_is_that_of_the_loss():
    rng, labels = np.random.default_rng(0), np.array([3, 3, 2, 0])
    new = np.array([True, True, True, False])
    z = rng.normal(size=(4, 4))

    def softmax(z):
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def loss(z):
        return (margin_dampening(softmax(z), labels, 2) * new).sum()

    found = _dampening_gradient(softmax(z), labels, 2, new)
    for i, j in np.ndindex(4, 4):
        step = np.zeros((4, 4))
        step[i, j] = 1e-6
        slope = (loss(z + step) - loss(z - step)) / 2e-6
        np.testing.assert_allclose(found[i, j], slope, atol=1e-6)


def test_distances_are_to_the_classes_under_one_covariance():
    rng, labels = np.random.default_rng(0), np.arange(60) % 4
    features = rng.normal(size=(60, 5)) + labels[:, None]
    whole = GaussianStatistics.of(features, labels, 4)
    first = labels < 2
    parts = [
        GaussianStatistics.of(features[m], labels[m] - s, 2)
        for m, s in ((first, 0), (~first, 2))
    ]
    for a, b in zip(whole.whitened(), GaussianStatistics.joined(parts).whitened()):
        np.testing.assert_allclose(np.abs(a), np.abs(b), atol=1e-8)
    means = np.stack([features[labels == c].mean(0) for c in range(4)])
    rest = features - means[labels]
    within = rest.T @ rest / 60
    within = 0.9 * within + 0.1 * np.trace(within) / 5 * np.eye(5)
    off = features[:, None] - means
    expected = np.einsum("ncf,fg,ncg->nc", off, np.linalg.inv(within), off)
    found = squared_distances(np, whole.arrays(), features)
    np.testing.assert_allclose(found, expected, atol=1e-8)
