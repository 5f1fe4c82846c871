"""The rival for tasks that arrive in turn: an adapter edited task after task."""

import numpy as np
import pytest

from keras_memvit.experiments import adapter_retention
from keras_memvit.experiments.adapter_retention import AdapterRetention


def random_task(seed, num_features=6, count=20, classes=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    labels = np.resize(classes, count)
    means = np.random.default_rng(9).normal(size=(9, num_features))
    return means[labels] + 0.5 * rng.normal(size=(count, num_features)), labels


def loss(weight, features, labels, prototypes):
    """Image by image, class by class."""
    total = 0.0
    for f, label in zip(features, labels):
        a = weight @ f
        z = np.array([100 * a @ m / np.sqrt(a @ a) for m in prototypes])
        total += np.log(np.exp(z - z[label]).sum())
    return total / len(labels)


def test_the_gradient_against_differences():
    features, labels = random_task(0, num_features=4, count=6)
    rng = np.random.default_rng(1)
    prototypes = rng.normal(size=(3, 4))
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    weight = np.eye(4) + 0.1 * rng.normal(size=(4, 4))
    expected = np.zeros((4, 4))
    for place in np.ndindex(4, 4):
        step = np.zeros((4, 4))
        step[place] = 1e-5
        up, down = (
            loss(weight + s * step, features, labels, prototypes) for s in (1, -1)
        )
        expected[place] = (up - down) / 2e-5
    found = adapter_retention.gradient(weight, features, labels, prototypes)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_retention_by_importance_weight_by_weight():
    old, new, g = np.random.default_rng(0).normal(size=(3, 5, 5))
    found = adapter_retention.retain_important(old, new, g, rho=0.4)
    ranked = sorted(np.ndindex(5, 5), key=lambda p: -abs(g[p] * (new[p] - old[p])))
    for rank, place in enumerate(ranked):
        assert found[place] == (new if rank < 10 else old)[place]
    for rho, expected in ((0.0, old), (1.0, new)):
        kept = adapter_retention.retain_important(old, new, g, rho)
        np.testing.assert_array_equal(kept, expected)


def test_retention_by_svd_row_by_row():
    old, new = np.random.default_rng(0).normal(size=(2, 4, 4))
    u, s, v = np.linalg.svd(old)
    rows, changes = np.zeros((4, 4)), np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            changes[i, j] = abs(u[:, i] @ new[:, j] - s[i] * v[i, j])
    for i in range(4):
        for j in range(4):
            share = min(changes[i, j] / changes.max() + 0.2, 1.0)
            rows[i, j] = share * (u[:, i] @ new[:, j]) + (1 - share) * s[i] * v[i, j]
    expected = sum(np.outer(u[:, i], rows[i]) for i in range(4))
    found = adapter_retention.retain_by_svd(old, new, bias=0.2)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(
        adapter_retention.retain_by_svd(old, new, bias=1.0), new, atol=1e-12
    )
    np.testing.assert_allclose(
        adapter_retention.retain_by_svd(old, old), old, atol=1e-12
    )


@pytest.mark.parametrize("options", [{"retention": None}, {"rho": 0.0}])
def test_the_identity_is_the_nearest_mean_by_cosine(options):
    learner = AdapterRetention(**options)
    tasks = [random_task(0), random_task(1, classes=(3, 4))]
    for features, labels in tasks:
        learner.learn(features, labels)
    images, _ = random_task(2)
    found = learner.logits(images)
    for c in range(5):
        mean = np.mean([f for x, y in tasks for f, label in zip(x, y) if label == c], 0)
        cosine = images @ mean / np.linalg.norm(images, axis=1) / np.linalg.norm(mean)
        np.testing.assert_allclose(found[:, c], 100 * cosine)


@pytest.mark.parametrize("retention", ["importance", "svd"])
def test_an_adapter_learns_its_task_and_changes_old_answers(retention, monkeypatch):
    monkeypatch.setattr(adapter_retention, "RATE", 0.02)
    learner = AdapterRetention(retention, rho=1.0, bias=1.0)  # all that is new
    features, labels = random_task(0)
    features = 5.0 + features  # all alike, so that there is something to learn
    learner.learn(features, labels)
    before = loss(np.eye(6), features, labels, learner.prototypes)
    after = loss(learner.weight, features, labels, learner.prototypes)
    assert after < 0.9 * before
    old = learner.logits(features)
    others, labels = random_task(1, classes=(3, 4))
    learner.learn(5.0 + others, labels)
    assert np.abs(learner.logits(features)[:, :3] - old).max() > 0.1


def test_replayed_samples_are_of_the_classes_gaussians():
    features, labels = random_task(0)
    learner = AdapterRetention("svd")
    learner.learn(features, labels)
    samples, of = learner._replay(6000, 3)
    for c in range(3):
        group, own = features[labels == c], samples[of == c]
        np.testing.assert_allclose(own.mean(0), group.mean(0), atol=0.06)
        covariance = np.cov(group.T, bias=True) + 1e-4 * np.eye(6)
        np.testing.assert_allclose(np.cov(own.T), covariance, atol=0.05)
