"""Rivals that change weights: merged, budgeted, masked, each against a reference."""

import math

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot

from keras_memvit.recipes import baseline
from keras_memvit.rivals.changed_block import PROJECTIONS
from keras_memvit.rivals.changed_block import projection
from keras_memvit.rivals.squared_gradients import fisher

D, MLP, CLASSES = 32, 64, 3
NEW = {
    "adapter": {"rank": 2, "placement": "parallel"},
    "consolidator": {"groups": (8, 16)},
    "fish": {"keep": 0.01},
    "swr": {"rank": 2, "policy_steps": 2},
}
LABELS = np.arange(8) % CLASSES


def make(regime, variant="registers", **options):
    backbone = make_backbone(variant)
    return backbone, baseline(backbone, CLASSES, regime, **options)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def train(model, images, epochs=2, rate=0.01):
    """With decay and moments, which must not reach what is frozen either."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.1), loss)
    model.fit(images, LABELS, epochs=epochs, verbose=0)


def spread(model):
    """Gives what a rival adds values that cannot be overlooked."""
    rng = np.random.default_rng(7)  # not the backbone's
    for variable in model.trainable_variables:
        if "head" not in variable.path and variable.name != "policy":
            variable.assign(rng.normal(0, 0.2, variable.shape))


@pytest.mark.parametrize("regime", NEW)
def test_a_rival_starts_as_the_backbone_to_the_bit(regime, images):
    backbone, model = make(regime, **NEW[regime])
    np.testing.assert_array_equal(
        numpy(model.features(images[:2])), numpy(backbone(images[:2])[:, 0])
    )


@pytest.mark.parametrize("regime", NEW)
def test_trained_weights_travel_as_a_file(regime, images, tmp_path):
    backbone = make_backbone(num_layers=1)
    model, other = (
        baseline(backbone, CLASSES, regime, **NEW[regime]) for _ in range(2)
    )
    train(model, images)
    model.save_weights(tmp_path / "rival.weights.h5")
    before, expected = (
        other.predict(images, verbose=0),
        model.predict(images, verbose=0),
    )
    other.load_weights(tmp_path / "rival.weights.h5")
    np.testing.assert_array_equal(other.predict(images, verbose=0), expected)
    assert np.abs(before - expected).max() > 1e-3
    with pytest.raises(NotImplementedError, match="is not saved"):
        model.get_config()


@pytest.mark.parametrize("regime", ["consolidator", "fish", "swr"])
def test_what_is_merged_gives_the_same(regime, images):
    """Also where some projections have no bias, and the MLP is gated."""
    variant = "rotary" if regime == "consolidator" else "swiglu"
    backbone, model = make(regime, variant, **NEW[regime])
    before = model.predict(images, verbose=0)
    spread(model)
    after = model.predict(images, verbose=0)
    merged = model.merged()
    np.testing.assert_allclose(merged.predict(images, verbose=0), after, atol=1e-4)
    assert np.abs(after - before).max() > 1e-2
    assert type(merged.backbone) is type(backbone)
    assert {w.shape for w in merged.weights} == {
        w.shape for w in [*backbone.weights, *model.head.weights]
    }
    for weight, frozen in zip(model.backbone.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), numpy(frozen))


@pytest.mark.parametrize("regime", NEW)
def test_half_precision_computes_the_same_roughly(regime, images):
    _, model = make(regime, **NEW[regime])
    spread(model)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        _, half = make(regime, **NEW[regime], dtype="mixed_bfloat16")
        half.set_weights([numpy(w) for w in model.weights])
        found, expected = (m(images[:2], training=False) for m in (half, model))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {keras.backend.standardize_dtype(w.dtype) for w in half.weights} <= {
        "float32",
        "int32",
        "uint32",
    }
    difference = np.abs(numpy(found) - numpy(expected)).max()
    assert 0 < difference < 0.1


def test_consolidator_connects_what_the_shuffle_brings_together():
    backbone, model = make("consolidator", groups=8)
    spread(model)
    (branch,), merged = model.branches, model.merged().backbone
    for place in PROJECTIONS:
        kernel, bias = (numpy(branch[f"{place}/{n}"])[1] for n in ("kernel", "bias"))
        old, new = (projection(b.blocks[1], place) for b in (backbone, merged))
        taken, given = old.kernel.shape
        expected = np.zeros((taken, given))
        shuffled = np.arange(taken).reshape(8, taken // 8).T.ravel()
        for i, row in enumerate(shuffled):
            group, inner = divmod(i, taken // 8)
            columns = slice(group * given // 8, (group + 1) * given // 8)
            expected[row, columns] = kernel[group, inner]
        change = numpy(new.kernel) - numpy(old.kernel)
        np.testing.assert_allclose(change, expected, atol=1e-6)
        assert np.count_nonzero(expected) == taken * given // 8
        np.testing.assert_allclose(numpy(new.bias) - numpy(old.bias), bias, atol=1e-6)


@pytest.mark.parametrize("placement", ["serial", "parallel"])
def test_an_adapter_reads_what_its_placement_says(placement, images):
    backbone, model = make("adapter", rank=2, placement=placement)
    spread(model)
    patches = {name: numpy(p).astype("float64") for name, p in model.patches.items()}
    erf = np.vectorize(math.erf)

    def patched(place, layer, y, taken):
        y, taken = numpy(y), numpy(taken)
        names = ("down", "down_bias", "up", "up_bias")
        down, a, up, b = (patches[f"{place}/{name}"][layer] for name in names)
        hidden = (y if placement == "serial" else taken) @ down + a
        hidden = hidden * (1 + erf(hidden / math.sqrt(2))) / 2
        return keras.ops.convert_to_tensor((y + hidden @ up + b).astype("float32"))

    own = model.backbone  # whose norms are trained
    x = own.embed(images)
    for i, block in enumerate(own.blocks):
        u = block.norm1(x)
        x = x + patched("attended", i, block.attention(u), u) * numpy(block.scale1)
        u = block.norm2(x)
        x = x + patched("mlp", i, block.mlp(u), u) * numpy(block.scale2)
    expected = numpy(own.norm(x))[:, 0]
    np.testing.assert_allclose(numpy(model.features(images)), expected, atol=1e-4)


def test_an_adapter_trains_patches_norms_and_head(images):
    backbone, model = make("adapter")
    train(model, images)
    pairs = zip(model.backbone.weights, backbone.weights, strict=True)
    moved = [w.name for w, old in pairs if np.any(numpy(w) != numpy(old))]
    # Two norms in each of two layers, and the last.
    assert sorted(moved) == ["beta"] * 5 + ["gamma"] * 5


@pytest.mark.parametrize("kind", ["empirical", "expected"])
def test_fisher_is_the_mean_of_the_squared_gradients_of_each_example(kind):
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(3)]
    )
    x, labels = rng.normal(size=(6, 5)).astype("float32"), np.array([0, 2, 1, 1, 0, 2])
    w1, b1, w2, b2 = (numpy(w).astype("float64") for w in model.weights)
    expected = [np.zeros(w.shape) for w in (w1, b1, w2, b2)]
    for row, label in zip(x, labels):
        hidden = np.maximum(row @ w1 + b1, 0)
        p = np.exp(hidden @ w2 + b2)
        p /= p.sum()
        given = np.eye(3)[label] if kind == "empirical" else p
        for c in range(3):
            down = p - np.eye(3)[c]
            back = (w2 @ down) * (hidden > 0)
            found = np.outer(row, back), back, np.outer(hidden, down), down
            for total, gradient in zip(expected, found):
                total += given[c] * gradient**2 / len(x)
    before = snapshot(model.weights)
    for found, wanted in zip(fisher(model, x, labels, kind), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    for path, now in snapshot(model.weights).items():
        np.testing.assert_array_equal(now, before[path])


def test_fish_changes_the_largest_and_nothing_else(images):
    """Against squared gradients of a model that trains everything."""
    backbone = make_backbone(num_layers=1)
    options = {"keep": 0.02, "num_examples": 4}
    model = baseline(backbone, CLASSES, "fish", **options)
    full = baseline(backbone, CLASSES, "full")
    full.head.set_weights([np.array(numpy(w)) for w in model.head.weights])
    train(model, images)
    sums = fisher(full, images[:4], LABELS[:4])
    sizes = {id(v): f for v, f in zip(full.trainable_variables, sums)}
    sizes = np.concatenate([sizes[id(w)].ravel() for w in full.backbone.weights])
    kept = numpy(model.kept)
    count = round(0.02 * len(sizes))
    assert len(np.unique(kept)) == count == model.num_learned() - (D + 1) * CLASSES
    assert sizes[kept].min() >= np.delete(sizes, kept).max() * (1 - 1e-4)
    old, new = (
        np.concatenate([numpy(w).ravel() for w in b.weights])
        for b in (backbone, model.merged().backbone)
    )
    changed = np.flatnonzero(new != old)
    assert set(changed) <= set(kept) and len(changed) > 0.9 * count


def test_swr_keeps_its_budget(images):
    backbone, model = make("swr", rank=2, budget=800, policy_steps=3)
    train(model, images, epochs=3)
    chosen = numpy(model.chosen)
    train(model, images, epochs=2)  # the choice is final
    np.testing.assert_array_equal(numpy(model.chosen), chosen)
    learned = int(model.place_sizes[chosen > 0].sum())
    assert 0 < learned <= 800 and learned + (D + 1) * CLASSES == model.num_learned()
    merged = model.merged().backbone
    for i, place in enumerate(PROJECTIONS * 2):
        layer = i // len(PROJECTIONS)
        old, new = (projection(b.blocks[layer], place) for b in (backbone, merged))
        assert np.any(numpy(new.kernel) != numpy(old.kernel)) == (chosen[i] > 0)


def test_a_larger_budget_of_swr_holds_all_of_a_smaller():
    rng = np.random.default_rng(0)
    logits, chosen = rng.normal(size=12), []
    for budget in (192, 500, 900, 1792):
        _, model = make("swr", rank=2, budget=budget)
        model.policy.assign(logits)
        chosen.append(numpy(model._choice()) > 0)
        order = np.argsort(-logits)
        within = np.cumsum(model.place_sizes[order]) <= budget
        assert set(np.flatnonzero(chosen[-1])) == set(order[within])
    assert all(np.all(b[a]) for a, b in zip(chosen, chosen[1:])) and chosen[-1].all()


def test_the_budget_of_swr_is_a_loss_of_the_policy_alone(images):
    _, model = make("swr", rank=2, budget=192, policy_steps=1)
    model(images, training=True)
    (loss,) = model.losses
    np.testing.assert_allclose(numpy(loss), 0.5 * 1792 / 192 - 1, rtol=1e-5)
    model(images, training=True)
    assert numpy(model.losses[0]) == 0.0  # the choice is final
    model(images)
    assert not model.losses


@pytest.mark.parametrize(
    ("regime", "options", "message"),
    [
        ("adapter", {"placement": "beside"}, r"`placement` must be one of .*'beside'"),
        ("adapter", {"rank": 0}, r"`rank` of the bottlenecks must be .*rank=0"),
        ("consolidator", {"groups": 5}, r"`groups` must divide .*groups=5"),
        ("consolidator", {"groups": 0}, r"`groups`.* at least 1.*groups=0"),
        ("consolidator", {"groups": (8, 8)}, r"`groups` must be an int or several"),
        ("consolidator", {"groups": ()}, r"`groups` must be an int or several"),
        ("fish", {"keep": 0.0}, r"`keep`.* above 0 and at most 1.*keep=0.0"),
        ("fish", {"keep": True}, r"`keep`.* above 0 and at most 1.*keep=True"),
        ("fish", {"num_examples": 0}, r"`num_examples` must be .*num_examples=0"),
        ("fish", {"fisher": "true"}, r"`fisher` must be one of .*fisher='true'"),
        ("swr", {"rank": 2, "budget": 191}, r"must hold .* 192 numbers.*budget=191"),
        ("swr", {"rank": 1.5}, r"`rank` of the changes must be .*rank=1.5"),
        ("swr", {"policy_steps": -1}, r"`policy_steps` must be .*policy_steps=-1"),
    ],
)
def test_a_wrong_option_is_named(regime, options, message):
    with pytest.raises(ValueError, match=message):
        make(regime, **options)


def test_fish_refuses_what_it_cannot_choose_by(images):
    _, model = make("fish")
    with pytest.raises(ValueError, match=r"`images` must be at least one.*\(0,"):
        model.choose(images[:0], LABELS[:0])
    with pytest.raises(ValueError, match=r"`labels` an int for each.*\(3,\)"):
        model.choose(images, LABELS[:3])
    with pytest.raises(ValueError, match="call `choose"):
        model.fit(batch for batch in [(images, LABELS)])
