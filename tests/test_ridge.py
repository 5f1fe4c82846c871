"""A head in closed form, and the temperature that calibrates one."""

import numpy as np

from keras_memvit.recipes.ridge import fit_ridge
from keras_memvit.recipes.temperature import fit_temperature


def test_ridge_leaves_one_out_exactly():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 5)), rng.integers(0, 3, 30)
    features[np.arange(30), labels] += 2.0
    strengths = (1e-2, 1.0, 1e2)

    def solve(x, y, strength):
        wanted = np.eye(3)[y]
        centred = x - x.mean(0)
        # The same penalty as with every example there.
        full = features - features.mean(0)
        penalty = strength * np.trace(full.T @ full) / 5
        kernel = np.linalg.solve(
            centred.T @ centred + penalty * np.eye(5),
            centred.T @ (wanted - wanted.mean(0)),
        )
        return kernel, wanted.mean(0) - x.mean(0) @ kernel

    def left_out(strength):
        wrong = []
        for i in range(30):
            kept = np.arange(30) != i
            kernel, bias = solve(features[kept], labels[kept], strength)
            wrong.append(np.eye(3)[labels[i]] - features[i] @ kernel - bias)
        wrong = np.array(wrong)
        predicted = (np.eye(3)[labels] - wrong).argmax(-1)
        return (np.mean(predicted == labels), -np.mean(wrong**2))

    best = max(strengths, key=left_out)
    kernel, bias = fit_ridge(features, labels, 3, strengths)
    expected = solve(features, labels, best)
    np.testing.assert_allclose(kernel, expected[0], atol=1e-5)
    np.testing.assert_allclose(bias, expected[1], atol=1e-5)


def test_the_temperature_undoes_a_scale():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    noise = -np.log(-np.log(rng.uniform(size=logits.shape)))
    labels = (logits + noise).argmax(-1)  # drawn from softmax(logits)
    assert abs(fit_temperature(5.0 * logits, labels) - 5.0) < 0.4
