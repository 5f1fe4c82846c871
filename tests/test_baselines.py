"""What memory is compared with: what each regime trains, and nothing else."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot

from keras_memvit.recipes import baseline

D, CLASSES = 32, 3
TRAINED = {
    "head": (D + 1) * CLASSES,
    "head_class": (D + 1) * CLASSES + D,
    "lora": (D + 1) * CLASSES + 2 * 2 * (D * 4 + 4 * D),
}


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def make(regime, **options):
    backbone = make_backbone("registers")
    return backbone, baseline(backbone, CLASSES, regime, **options)


@pytest.mark.parametrize("regime", ["full", "head", "head_class", "lora"])
def test_a_regime_starts_as_the_backbone_and_trains_what_it_says(regime, images):
    backbone, model = make(regime, rank=4)
    expected = count(backbone.weights) + TRAINED["head"]
    assert count(model.trainable_variables) == TRAINED.get(regime, expected)
    features = backbone.predict(images, verbose=0)[:, 0]
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.head.weights)
    before = model.predict(images, verbose=0)
    np.testing.assert_allclose(before, features @ kernel + bias, atol=1e-4)

    caller, frozen = snapshot(backbone.weights), snapshot(model.non_trainable_variables)
    trained = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(images, np.arange(8) % CLASSES, epochs=2, verbose=0)
    for weight, now in snapshot(backbone.weights).items():
        np.testing.assert_array_equal(now, caller[weight])
    for weight, now in snapshot(model.non_trainable_variables).items():
        if weight in frozen and "seed" not in weight:
            np.testing.assert_array_equal(now, frozen[weight])
    moved = [
        np.abs(keras.ops.convert_to_numpy(v) - old).max()
        for v, old in zip(model.trainable_variables, trained)
    ]
    assert np.mean(np.array(moved) > 0) > 0.9  # a key's bias has no gradient


def test_what_is_no_regime_is_refused():
    with pytest.raises(ValueError, match="'full', 'head'.*regime='adapters'"):
        make("adapters")
    with pytest.raises(ValueError, match="'head_class' needs"):
        baseline(make_backbone("no_class_token"), CLASSES, "head_class")
