"""`sees_budget`: a task learns which memory tokens of the tasks it sees it reads."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot
from conftest import softmax_shapes
from reference import dense_forward
from seeing import SCORES
from seeing import L
from seeing import M
from seeing import answers
from seeing import build
from seeing import decoded
from seeing import saved
from seeing import scores_of
from seeing import task
from seeing import three

import keras_memvit
from keras_memvit.readouts import read_gates
from keras_memvit.tasks.reads import fixed_specs


def test_the_best_scores_are_read_and_no_others(images, tmp_path):
    """While choosing and fixed alike, as a dense mask of the choice says."""
    model = build(*three())
    expected = answers(model, images)
    fixed = saved(model, tmp_path / "tasks")
    (spec,) = [spec for spec in fixed.specs if spec.name == "on"]
    scores = scores_of(model)
    assert scores.shape == (L, 2 * M)  # "also" first, by name
    best = np.zeros(scores.size, bool)
    best[np.argsort(-scores.ravel())[: L * 2 * M // 4]] = True
    best = best.reshape(scores.shape)
    np.testing.assert_array_equal(decoded(spec, "also"), best[:, :M])
    np.testing.assert_array_equal(decoded(spec, "seen"), best[:, M:])
    np.testing.assert_array_equal(decoded(spec, "on"), np.full((L, M), 2))
    assert SCORES not in fixed.task_layers["on"].arrays()
    found, dense = answers(fixed, images), dense_forward(fixed, images)[0]
    everything = answers(build(*three(None)), images)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
        np.testing.assert_allclose(found[name], dense[name], atol=3e-4, rtol=1e-3)
    assert np.abs(everything["on"] - found["on"]).max() > 1e-3
    mask = [
        keras_memvit.attention_mask(fixed.specs, 6, layer=i)[-1, -3 * M : -M]
        for i in range(L)
    ]
    np.testing.assert_array_equal(mask, np.concatenate([best[:, M:], best[:, :M]], 1))
    np.testing.assert_array_equal(
        keras_memvit.attention_mask(fixed.specs, 6)[-1, -3 * M : -M], np.any(mask, 0)
    )
    with pytest.raises(ValueError, match="`layer` must be one of the 2 layers"):
        keras_memvit.attention_mask(fixed.specs, 6, layer=L)


def test_hidden_tokens_are_not_computed(images, tmp_path):
    """No place in the softmax, and no way from them to an answer."""
    specs = (task("seen"), task("on", sees=["seen"], sees_budget=0.25))
    model = build(*specs)
    scores = np.zeros((L, M), "float32")
    scores[1, :2] = 1.0  # nothing of the first layer, two tokens of the second
    model.task_layers["on"].variables_by_name[SCORES].assign(scores)
    expected = answers(model, images)["on"]
    fixed = saved(model, tmp_path / "tasks")
    base = fixed.backbone.num_patches + 1
    sizes = sorted(s[-1] for s in softmax_shapes(fixed, images) if len(s) == 4)
    own = [base + 1 + M] * L  # of "seen"
    assert set(own + [own[0] + 1, own[0] + 3]) <= set(sizes)
    assert own[0] + 1 + M not in sizes
    memory = fixed.task_layers["seen"].memory.memory
    value = keras.ops.convert_to_numpy(memory)
    for bad in (np.nan, 100.0):  # what "seen" answers is after all layers
        changed = value.copy()
        changed[1, 2:] = bad
        memory.assign(changed)
        found = answers(fixed, images)["on"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    changed = value.copy()
    changed[1, 0] *= -1.0
    memory.assign(changed)
    assert np.abs(answers(fixed, images)["on"] - expected).max() > 1e-4


def test_all_of_it_is_as_without(images):
    backbone = make_backbone()
    pair = [build(*three(budget), backbone=backbone) for budget in (None, 1)]
    for name in ("seen", "also", "on"):
        counts = {m.task_layers[name].count_params() for m in pair}
        assert len(counts) == 1
    found, expected = (answers(model, images) for model in pair)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert "sees_budget" not in pair[0].specs[2].get_config()
    less = build(*three(0.25)).task_layers["on"].count_params()
    assert less - pair[0].task_layers["on"].count_params() == L * 2 * M


def test_the_gradient_is_that_of_the_gates(images, monkeypatch):
    """A step on the scores against finite differences in gates of 0 and 1."""
    model = build(*three(), backbone=make_backbone(num_layers=1))
    model = keras_memvit.select(model, "on")
    for name in ("seen", "also"):
        model.task_layers[name].trainable = False
    labels, before = {"on": np.arange(8) % 3}, scores_of(model)
    model.compile(keras.optimizers.SGD(1.0))
    frozen = snapshot(model.weights)
    model.train_on_batch(images, labels)
    step = before - scores_of(model)
    for layer in ("seen", "also"):
        for weight in model.task_layers[layer].weights:
            np.testing.assert_array_equal(weight, frozen[weight.path])
    for weight in model.task_layers["on"].weights:
        weight.assign(frozen[weight.path])
    chosen = read_gates.chosen

    def loss(index, change):
        change = change * np.eye(before.size, dtype="float32")[index]
        change = keras.ops.convert_to_tensor(change.reshape(before.shape))
        monkeypatch.setattr(read_gates, "chosen", lambda *args: chosen(*args) + change)
        logits = model(keras.ops.convert_to_tensor(images), training=False)["on"]
        logits = keras.ops.convert_to_numpy(logits).astype("float64")
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return -np.log(p[np.arange(8), labels["on"]]).mean()

    slope = [(loss(i, 1e-2) - loss(i, 0)) / 1e-2 for i in range(before.size)]
    sigmoid = 1 / (1 + np.exp(-before))
    expected = np.reshape(slope, before.shape) * sigmoid * (1 - sigmoid)
    np.testing.assert_allclose(step, expected, atol=0.05 * np.abs(expected).max())
    assert (np.abs(step) > 0).all()  # of hidden tokens too


def test_scores_alone_find_what_is_worth_reading():
    """A task that answers by another choice of what it reads is met by choosing."""
    shape = (64, 32, 48, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    teacher = build(*three(), seed=21)
    for layer in teacher.task_layers.values():
        arrays = layer.arrays()
        layer.assign_arrays({**arrays, "memory": 10 * arrays["memory"]})
    head = teacher.task_layers["on"].variables_by_name["head/kernel"]
    head.assign(3 * head)
    p = keras.ops.convert_to_numpy(keras.ops.softmax(answers(teacher, images)["on"]))
    best = -(p * np.log(p)).sum(axis=-1).mean()
    student = keras_memvit.select(teacher, "on")
    scores = student.task_layers["on"].variables_by_name[SCORES]
    start = np.random.default_rng(103).normal(0, 0.02, scores.shape)
    scores.assign(start.astype("float32"))
    rates = {"class_token": 0, "memory": 0, "head": 0}
    student.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        learning_rate_multipliers={"seen": 0, "also": 0, "on": rates},
    )
    before = student.evaluate(images, {"on": p}, batch_size=64, verbose=0)
    student.fit(images, {"on": p}, batch_size=64, epochs=100, verbose=0)
    after = student.evaluate(images, {"on": p}, batch_size=64, verbose=0)
    before, after = (np.ravel(loss)[0] - best for loss in (before, after))
    assert before > 0.05 and after < 0.1 * before


def test_images_and_stores_train_it_alike(images, tmp_path):
    """What trains is what is served, and what is seen is read alone."""
    labels = {"on": np.arange(8) % 3}
    backbone = make_backbone()
    old = build(*three()[:2], backbone=backbone)
    seen = snapshot(old.weights)
    pair = [
        keras_memvit.extend(old, {"on": 3}, sees=["also"], sees_budget=0.5)
        for _ in range(2)
    ]
    randomize(pair[0].task_layers["on"], 3)
    pair[1].task_layers["on"].assign_arrays(pair[0].task_layers["on"].arrays())
    before = pair[0].task_layers["on"].arrays()
    store = keras_memvit.precompute(
        old, (images, labels["on"]), tmp_path / "store", dtype="float32", verbose=0
    ).with_labels(labels)
    for model, data in zip(pair, ((store,), (images, labels))):
        model.compile(keras.optimizers.SGD(0.5))
        model.fit(*data, batch_size=8, epochs=3, shuffle=False, verbose=0)
    found, expected = (model.task_layers["on"].arrays() for model in pair)
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], atol=1e-3)
        assert np.abs(value - before[key]).max() > 0, key
    for name in ("seen", "also"):
        own = old.task_layers[name].arrays()
        for key, value in pair[0].task_layers[name].arrays().items():
            np.testing.assert_array_equal(value, own[key])
    assert snapshot(old.weights).keys() == seen.keys()
    differences = pair[0].verify_unchanged(images)
    assert differences["base"] == 0.0 and max(differences.values()) < 1e-5
    found = answers(saved(pair[0], tmp_path / "tasks"), images)
    for name, value in answers(pair[0], images).items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_mixed_precision_stays_near(images):
    """A step on the scores too, which stay float32."""
    single, model = (
        build(*three(), backbone=make_backbone(dtype=dtype))
        for dtype in (None, "mixed_bfloat16")
    )
    found, expected, steps = answers(model, images), answers(single, images), []
    for name, value in expected.items():
        scale = 1 + np.abs(value).max()
        np.testing.assert_allclose(found[name], value, atol=0.08 * scale)
    for each in (single, model):
        before = scores_of(each)
        each.compile(keras.optimizers.SGD(1.0))
        each.train_on_batch(images, {"on": np.arange(8) % 3})
        steps.append(scores_of(each) - before)
    np.testing.assert_allclose(*steps, atol=0.2 * np.abs(steps[0]).max())
    assert scores_of(model).dtype == "float32"


@pytest.mark.parametrize("readout", ["deep", "side", "synthesised"])
def test_it_stands_beside_any_readout(images, readout, tmp_path):
    model = build(*three(readout=readout, adapter="lora", feature_norm=True))
    found, expected = (
        answers(m, images) for m in (saved(model, tmp_path / "tasks"), model)
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_no_other_task_is_changed(images):
    """By what one chooses, or by scores that are not finite."""
    model = build(*three(), task("like", sees=["also"], sees_budget=0.25))
    scores = model.task_layers["on"].variables_by_name[SCORES]
    before = answers(model, images)
    for value in (-scores_of(model), np.full((L, 2 * M), np.nan, "float32")):
        scores.assign(value)
        after = answers(model, images)
        for name in ("seen", "also", "like"):
            np.testing.assert_array_equal(after[name], before[name])
        if np.isfinite(value).all():
            assert np.abs(after["on"] - before["on"]).max() > 1e-4
    with pytest.raises(ValueError, match="not finite in 'reads/scores'"):
        fixed_specs(model.specs, {"on": {SCORES: scores_of(model)}})
