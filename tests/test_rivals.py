"""What memory is compared with: what each regime trains, and nothing else."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot

from keras_memvit.recipes import baseline
from keras_memvit.rivals import RIVALS

D, MLP, CLASSES = 32, 64, 3
TRAINED = {
    "head": (D + 1) * CLASSES,
    "head_class": (D + 1) * CLASSES + D,
    "propagated": (D + 1) * CLASSES + D + 5 * D,
    "propagated_update": (D + 1) * CLASSES + D + 2 * 5 * D,
    "lora": (D + 1) * CLASSES + 2 * 2 * (D * 4 + 4 * D),
    "ia3": (D + 1) * CLASSES + 2 * (D + D + MLP),
    # Two bottlenecks of width 4 and two norms a layer, and the last norm.
    "adapter": (D + 1) * CLASSES + 2 * 2 * (2 * D * 4 + 4 + D) + (4 * 2 + 2) * D,
    # Sixteen groups; queries, keys, values and output, then the MLP.
    "consolidator": (D + 1) * CLASSES
    + 2 * ((4 * D * D + 2 * D * MLP) // 16 + 5 * D + MLP),
    "fish": (D + 1) * CLASSES + 211,  # 0.005 of 42,272
    # Changes of rank 4 of all projections, and a logit each.
    "swr": (D + 1) * CLASSES + 2 * (4 * (4 * 2 * D + 2 * (D + MLP)) + 6),
}


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def make(regime, **options):
    backbone = make_backbone("registers")
    return backbone, baseline(backbone, CLASSES, regime, **options)


@pytest.mark.parametrize("regime", RIVALS)
def test_a_regime_starts_as_the_backbone_and_trains_what_it_says(regime, images):
    backbone, model = make(regime, rank=4)
    expected = count(backbone.weights) + TRAINED["head"]
    assert count(model.trainable_variables) == TRAINED.get(regime, expected)
    features = backbone.predict(images, verbose=0)[:, 0]
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.head.weights)
    before = model.predict(images, verbose=0)
    expected = features @ kernel + bias
    same = np.allclose(before, expected, atol=1e-4)
    assert same != regime.startswith("propagated")  # where patches read memory at once

    caller = snapshot(backbone.weights)
    frozen = snapshot(v for v in model.backbone.variables if not v.trainable)
    trained = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(images, np.arange(8) % CLASSES, epochs=2, verbose=0)
    for weight, now in snapshot(backbone.weights).items():
        np.testing.assert_array_equal(now, caller[weight])
    for weight, now in snapshot(model.backbone.variables).items():
        if weight in frozen:
            np.testing.assert_array_equal(now, frozen[weight])
    moved = [
        np.abs(keras.ops.convert_to_numpy(v) - old).max()
        for v, old in zip(model.trainable_variables, trained)
    ]
    assert np.mean(np.array(moved) > 0) > 0.9  # a key's bias has no gradient


def test_what_is_no_regime_is_refused():
    with pytest.raises(ValueError, match="'full', 'head'.*regime='adapters'"):
        make("adapters")
    with pytest.raises(ValueError, match="'head_class' needs a backbone with a class"):
        baseline(make_backbone("no_class_token"), CLASSES, "head_class")


def test_ia3_scales_what_the_projections_give(images):
    """Against a backbone whose weights are scaled instead."""
    backbone, model = make("ia3")
    rng = np.random.default_rng(0)
    for scale in model.scales.values():
        scale.assign(rng.uniform(0.5, 2.0, scale.shape))
    key, value, hidden = (
        keras.ops.convert_to_numpy(model.scales[name]).reshape(2, -1)
        for name in ("key", "value", "hidden")
    )
    scaled = backbone.replicate()
    for i, block in enumerate(scaled.blocks):
        for layer, by in ((block.attention.key, key), (block.attention.value, value)):
            for weight in layer.weights:
                weight.assign(weight.value * by[i])
        contract = block.mlp.contract.kernel
        contract.assign(contract.value * hidden[i][:, None])
    features = scaled.predict(images, verbose=0)[:, 0]
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.head.weights)
    logits = model.predict(images, verbose=0)
    np.testing.assert_allclose(logits, features @ kernel + bias, atol=1e-4)


@pytest.mark.parametrize("updates", [False, True])
def test_propagated_memory_is_a_token_as_any_other(updates, images):
    """Against the blocks themselves, run over one long sequence."""
    regime = "propagated_update" if updates else "propagated"
    backbone, model = make(regime, num_memory_tokens=2)
    x = backbone.embed(keras.ops.convert_to_tensor(images))
    memory = keras.ops.convert_to_numpy(model.memory)
    memory = np.repeat(memory[:, None], len(images), axis=1)  # (1 or L, B, m, D)
    x = keras.ops.concatenate([x, memory[0]], axis=1)
    for i, block in enumerate(backbone.blocks):
        if updates and i:
            x = keras.ops.convert_to_numpy(x).copy()
            x[:, -2:] += memory[i]
            x = keras.ops.convert_to_tensor(x)
        x = block(x)
    features = keras.ops.convert_to_numpy(backbone.norm(x))[:, 0]
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.head.weights)
    logits = model.predict(images, verbose=0)
    np.testing.assert_allclose(logits, features @ kernel + bias, atol=1e-4)
