"""`sees_budget`: a task learns which memory tokens of the tasks it sees it reads."""

import base64
import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot
from conftest import softmax_shapes
from reference import dense_forward

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.readouts import read_gates
from keras_memvit.tasks.reads import fixed_specs

L, M = 2, 4
SCORES = "reads/scores"


def build(*specs, backbone=None, seed=10):
    model = keras_memvit.build(backbone or make_backbone(), list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, seed + i)
    return model


def task(name, **options):
    return TaskSpec(name, 3, M, **options)


def three(budget=0.25, **options):
    """Tasks whose order is not that of their names; the last reads both others."""
    return (
        task("seen"),
        task("also", sees=["seen"]),
        task("on", sees=["also"], sees_budget=budget, **options),
    )


def answers(model, images):
    return model.predict(images, verbose=0)


def scores_of(model, name="on"):
    return keras.ops.convert_to_numpy(model.task_layers[name].variables_by_name[SCORES])


def decoded(spec, name):
    """Codes of two bits, lowest first, of (L, M) tokens."""
    data = base64.b64decode(dict(spec.reads)[name])
    codes = [(byte >> shift) & 3 for byte in data for shift in (0, 2, 4, 6)]
    return np.array(codes[: L * M]).reshape(L, M)


def saved(model, folder):
    """The tasks through their files, each choice fixed."""
    folder.mkdir()
    for name in model.task_layers:
        keras_memvit.save_task(model, name, folder / f"{name}.safetensors")
    return keras_memvit.load_task(model.backbone, folder)


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


def test_it_goes_on_choosing_until_it_is_frozen(images, tmp_path):
    model = build(*three())
    expected, scores = answers(model, images), scores_of(model)
    model.save(tmp_path / "model.keras")
    other = build(task("other"), backbone=model.backbone)
    for same in (
        keras_memvit.load_model(tmp_path / "model.keras"),
        keras_memvit.concatenate([other, model]),
        keras_memvit.select(model, "on"),
        keras_memvit.extend(model, {"new": 2}, freeze=False),
    ):
        np.testing.assert_array_equal(scores_of(same), scores)
        found = answers(same, images)["on"]
        np.testing.assert_allclose(found, expected["on"], atol=1e-5)
    frozen = keras_memvit.extend(model, {"new": 2}, sees=["on"], sees_budget=0.2)
    new, on = frozen.specs[-1], frozen.specs[-2]
    assert on.reads is not None and not on.chooses and new.chooses
    assert on == saved(model, tmp_path / "tasks").specs[-1]
    for name, value in expected.items():
        np.testing.assert_allclose(answers(frozen, images)[name], value, atol=1e-5)
    assert max(frozen.verify_unchanged(images).values()) < 1e-5
    frozen.save(tmp_path / "frozen.keras")
    loaded = keras_memvit.load_model(tmp_path / "frozen.keras")
    assert loaded.specs == frozen.specs
    shares = keras_memvit.plot.class_token_attention(frozen, images[:2], "on")
    assert shares["memory"].shape == (2, L, 4, 3 * M)
    assert (shares["memory"] > 0).any((0, 2)).sum() == L * (M + 2 * M // 4)
    total = sum(value.sum(axis=-1) for value in shares.values())
    np.testing.assert_allclose(total, 1, atol=1e-5)


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


def test_files_are_small_and_say_so(images, tmp_path):
    model = build(*three())
    fixed, path = saved(model, tmp_path / "tasks"), tmp_path / "tasks/on.safetensors"
    lines = []
    keras_memvit.inspect(path, print_fn=lines.append)
    sizes = [int((decoded(fixed.specs[2], n) == 1).sum()) for n in ("also", "seen")]
    assert sum(sizes) == 4
    said = f"reads memory tokens: {sizes[0]} of also, {sizes[1]} of seen"
    assert said in lines[0]
    config = fixed.specs[2].get_config()
    assert len(json.dumps(config["reads"])) < 80
    assert TaskSpec.from_config(json.loads(json.dumps(config))) == fixed.specs[2]
    # Who sees it saw what it reads: another choice is another version of it.
    more = keras_memvit.extend(model, {"new": 2}, sees=["on"], freeze=False)
    keras_memvit.save_task(more, "new", tmp_path / "tasks/new.safetensors")
    assert len(saved(more, tmp_path / "again").specs) == 4
    scores = more.task_layers["on"].variables_by_name[SCORES]
    scores.assign(-scores)
    keras_memvit.save_task(more, "on", path)
    with pytest.raises(ValueError, match="other versions of the tasks \\['on'\\]"):
        keras_memvit.load_task(model.backbone, tmp_path / "tasks")


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


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is TensorFlow's"
)
def test_both_exports_have_it(tmp_path):
    """Both compare every signature's answers with the model's, and fail otherwise."""
    model = build(*three(), task("like", sees=["also"], sees_budget=0.5))
    path = tmp_path / "people/1"
    keras_memvit.export_saved_model(model, path, warmup=False, image_bytes=False)
    keras_memvit.export_onnx(model, tmp_path / "people.onnx")


def test_wrong_arguments_are_named(backbone):
    for budget in (0, 1.5, True, "all", float("nan")):
        with pytest.raises(ValueError, match="`sees_budget` of task 'a'.*Received: "):
            TaskSpec("a", 2, sees=["b"], sees_budget=budget)
    with pytest.raises(ValueError, match="`sees_budget` of task 'a' needs `sees`"):
        TaskSpec("a", 2, sees_budget=0.5)
    model = build(task("seen"), backbone=backbone)
    with pytest.raises(ValueError, match="`sees_budget` of task 'new' needs `sees`"):
        keras_memvit.extend(model, {"new": 2}, sees_budget=0.5)
    with pytest.raises(ValueError, match="must leave at least one of the 8 memory"):
        keras_memvit.extend(model, {"new": 2}, sees=["seen"], sees_budget=0.1)
    own = TaskSpec("new", 2, sees=["seen"], sees_budget=0.5)
    more = keras_memvit.extend(model, [own], sees_budget=0.25)
    assert more.specs[1].sees_budget == 0.5
    (_, spec) = fixed_specs(more.specs, {"new": more.task_layers["new"].arrays()})
    reads = dict(spec.reads)
    for wrong in ("abc", {"new": "*"}, {"seen": reads["seen"]}, {"new": ""}, 3):
        with pytest.raises(ValueError, match="`reads` of task 'new' must be a dict"):
            dataclasses.replace(spec, reads=wrong)
    for wrong, message in (
        ({"new": reads["new"]}, "must be of itself and of the tasks it sees"),
        ({**reads, "x": reads["seen"]}, "must be of itself and of the tasks it sees"),
        ({**reads, "seen": reads["new"]}, "must have one of the codes"),
        ({**reads, "new": reads["seen"]}, "must have one of the codes"),
        ({**reads, "seen": "AAAA" + reads["seen"]}, "must have one of the codes"),
    ):
        bad = dataclasses.replace(spec, reads=wrong)
        with pytest.raises(ValueError, match=message):
            keras_memvit.build(backbone, [model.specs[0], bad])
