"""`shrink`: a head that takes only the inputs that matter most."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.shrink import head_fisher

KINDS = ["single_label", "multi_label", "regression"]


def build(*specs, backbone=None):
    model = keras_memvit.build(backbone or make_backbone(), list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, 10 + i)
        arrays = layer.arrays()
        if "target/scale" in arrays:
            scale = np.array([2.0, 0.5, 1.0], "float32")
            layer.assign_arrays({**arrays, "target/scale": scale})
    return model


def task(name="a", kind="single_label", **options):
    options.setdefault("readout", "deep")
    return TaskSpec(name, 3, 2, kind=kind, **options)


def labels_for(kind, count=8):
    rng = np.random.default_rng(2)
    if kind == "single_label":
        return np.where(np.arange(count) == 3, -1, np.arange(count) % 3)
    if kind == "multi_label":
        return rng.integers(-1, 2, (count, 3)).astype("float32")
    labels = rng.normal(size=(count, 3)).astype("float32")
    labels[1, 2], labels[4] = np.nan, np.nan
    return labels


def features_of(model, images, spec):
    """What a head takes, through a model whose head hands it on."""
    layer = model.task_layers[spec.name]
    arrays = layer.arrays()
    width = len(arrays["head/kernel"])
    wide = dataclasses.replace(spec, num_classes=width, kind="single_label")
    other = keras_memvit.build(model.backbone, [wide])
    identity = {"head/kernel": np.eye(width), "head/bias": np.zeros(width)}
    other.task_layers[spec.name].assign_arrays({**arrays, **identity})
    return other.predict(images, verbose=0)[spec.name].astype("float64"), arrays


def log_p(kind, arrays, z, y):
    """`log p(y | x)` of one image's features, or None without a label."""
    h = z @ arrays["head/kernel"].astype("float64") + arrays["head/bias"]
    if kind == "single_label":
        return None if y == -1 else h[y] - np.log(np.exp(h).sum())
    known = ~np.isnan(y) if kind == "regression" else y != -1
    if not known.any():
        return None
    if kind == "multi_label":
        terms = y * h - np.log1p(np.exp(h))
    else:
        terms = -0.5 * ((y - arrays["target/mean"]) / arrays["target/scale"] - h) ** 2
    return terms[known].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_the_ranking_is_what_numpy_says(images, kind):
    """One image and one input at a time, by finite differences of `log p`."""
    model, labels, step = build(task(kind=kind)), labels_for(kind), 1e-5
    z, arrays = features_of(model, images, model.specs[0])
    expected, count = np.zeros(z.shape[1]), 0
    for row, label in zip(z, labels):
        if log_p(kind, arrays, row, label) is None:
            continue
        count += 1
        for i in range(len(row)):
            up, down = row.copy(), row.copy()
            up[i], down[i] = row[i] * (1 + step), row[i] * (1 - step)
            both = [log_p(kind, arrays, each, label) for each in (up, down)]
            expected[i] += ((both[0] - both[1]) / (2 * step)) ** 2
    expected /= count
    found = head_fisher(model, "a", (images, labels))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max())
    small = keras_memvit.shrink(model, "a", keep=0.3, data=(images, labels))
    kept = sorted(np.argsort(-expected)[: round(0.3 * len(expected))].tolist())
    assert small.specs[0].head_inputs == tuple(kept)
    own = small.task_layers["a"].arrays()
    assert own["head/kernel"].shape == (len(kept), 3)
    np.testing.assert_array_equal(own["head/kernel"], arrays["head/kernel"][kept])
    h = z[:, kept] @ own["head/kernel"] + own["head/bias"]
    if kind == "regression":
        h = h * own["target/scale"] + own["target/mean"]
    answers = small.predict(images, verbose=0)["a"]
    np.testing.assert_allclose(answers, h, atol=1e-4)


@pytest.mark.parametrize("readout", ["class_token", "side", "synthesised"])
def test_any_readout_shrinks_and_again(images, readout):
    model, data = build(task(readout=readout)), (images, np.arange(8) % 3)
    small = keras_memvit.shrink(model, "a", keep=0.5, data=data)
    smaller = keras_memvit.shrink(small, "a", keep=0.5, data=data)
    kept, fewer = (m.specs[0].head_inputs for m in (small, smaller))
    assert set(fewer) < set(kept) and len(fewer) == round(len(kept) / 2)
    z, arrays = features_of(model, images, model.specs[0])
    kernel = arrays["head/kernel"][list(fewer)]
    expected = z[:, list(fewer)] @ kernel + arrays["head/bias"]
    found = smaller.predict(images, verbose=0)["a"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_keeping_all_is_the_identity(images):
    model = build(task(), task("b"))
    same = keras_memvit.shrink(model, "a", keep=1)
    assert [s.get_config() for s in same.specs] == [s.get_config() for s in model.specs]
    found, expected = (m.predict(images, verbose=0) for m in (same, model))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_others_stay_and_a_store_ranks_alike(images, tmp_path):
    """And what is left trains on, from images as from the store."""
    specs = [task(), task("b"), task("on", sees=["a"])]
    model, labels = build(*specs), {"a": np.arange(8) % 3}
    expected = model.predict(images, verbose=0)
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path, dtype="float32", verbose=0
    )
    pair = [
        keras_memvit.shrink(model, "a", data=data)
        for data in (store, (images, labels["a"]))
    ]
    assert pair[0].specs == pair[1].specs
    found = pair[0].predict(images, verbose=0)
    for name in ("b", "on"):
        np.testing.assert_array_equal(found[name], expected[name])
    differences = pair[0].verify_unchanged(images)
    assert differences["base"] == 0.0 and differences["b"] < 1e-5
    assert "a" not in differences
    for small, data in zip(pair, ((store,), (images, labels))):
        small.compile(keras.optimizers.SGD(0.1))
        small.fit(*data, batch_size=8, shuffle=False, verbose=0)
    found, trained = (m.task_layers["a"].arrays() for m in pair)
    for key, value in found.items():
        np.testing.assert_allclose(value, trained[key], atol=1e-4)
    assert np.abs(found["head/kernel"]).sum() > 0


@pytest.mark.backend_free
def test_files_and_side_by_side(images, tmp_path):
    backbone = make_backbone()
    model = build(task(), task("on", sees=["a"]), backbone=backbone)
    keras_memvit.save_task(model, "a", tmp_path / "whole.safetensors")
    small = keras_memvit.shrink(model, "a", data=(images, np.arange(8) % 3))
    kept = len(small.specs[0].head_inputs)
    dropped = 32 * 3 - kept
    before, after = (m.task_layers["a"].count_params() for m in (model, small))
    assert before - after == dropped * 3
    expected = small.predict(images, verbose=0)
    small.save(tmp_path / "small.keras")
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in expected:
        keras_memvit.save_task(small, name, folder / f"{name}.safetensors")
    sizes = [
        path.stat().st_size
        for path in (tmp_path / "whole.safetensors", folder / "a.safetensors")
    ]
    assert sizes[0] - sizes[1] >= 4 * 3 * dropped - math.ceil(96 / 6) - 32
    other = keras_memvit.build(backbone, [task("c")])
    for loaded in (
        keras_memvit.load_model(tmp_path / "small.keras"),
        keras_memvit.load_task(backbone, folder),
        keras_memvit.concatenate([other, small]),
        keras_memvit.select(small, ["a", "on"]),
        keras_memvit.extend(small, {"new": 2}, sees=["a"]),
    ):
        found = loaded.predict(images, verbose=0)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    config = small.specs[0].get_config()
    assert TaskSpec.from_config(config) == small.specs[0]
    assert len(config["head_inputs"]) <= math.ceil(96 / 6) + 3
    assert "head_inputs" not in task().get_config()
    lines = []
    keras_memvit.inspect(folder / "a.safetensors", print_fn=lines.append)
    assert f"head inputs: {kept}" in lines[0]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is TensorFlow's"
)
def test_both_exports_have_it(images, tmp_path):
    """Both compare every signature's answers with the model's, and fail otherwise."""
    model = build(*(task(name) for name in "abc"))
    for name, count in (("a", 4), ("b", 8)):
        data = (images[:count], np.arange(count) % 3)
        model = keras_memvit.shrink(model, name, data=data)
    assert model.specs[0].head_inputs != model.specs[1].head_inputs
    path = tmp_path / "people/1"
    keras_memvit.export_saved_model(model, path, warmup=False, image_bytes=False)
    keras_memvit.export_onnx(model, tmp_path / "people.onnx")


@pytest.mark.backend_free
def test_labels_may_come_in_batches_and_by_task(images):
    model, labels = build(task(), task("b")), np.arange(8) % 3
    expected = head_fisher(model, "a", (images, labels))
    batches = [(images[i : i + 3], {"a": labels[i : i + 3]}) for i in (0, 3, 6)]
    np.testing.assert_allclose(head_fisher(model, "a", batches), expected, rtol=1e-4)
    rows = np.eye(3, dtype="float32")[labels]
    np.testing.assert_allclose(
        head_fisher(model, "a", (images, {"a": rows})), expected, rtol=1e-5
    )


def test_wrong_arguments_are_named(images):
    model, labels = build(task(), task("b")), np.arange(8) % 3
    for keep in (0, 1.5, -0.1, True, "all", float("nan")):
        with pytest.raises(ValueError, match="`keep`.*Received: keep="):
            keras_memvit.shrink(model, "a", keep=keep, data=(images, labels))
    with pytest.raises(ValueError, match="`name` must be a task of the model"):
        keras_memvit.shrink(model, "c", data=(images, labels))
    for data, reason in (
        (None, "there is none"),
        ([images], "it has no labels"),
        ([(images, {"b": labels})], "labels of \\['b'\\] alone"),
        ((images, -np.ones(8, "int32")), "no image has a label"),
        ((images, labels + 1), "out of range"),
        ([(images, labels[:4])], "one label an image"),
    ):
        with pytest.raises(ValueError, match=f"`data` of task 'a': .*{reason}"):
            keras_memvit.shrink(model, "a", data=data)
    for given in ((), (3, 1), (1, 1), (-1, 2), "*", "", 3, (0.5,)):
        with pytest.raises(ValueError, match="`head_inputs` of task 'a' must be asc"):
            TaskSpec("a", 2, head_inputs=given)
    with pytest.raises(ValueError, match="`head_inputs` of task 'a' must be below 96"):
        build(task(head_inputs=(0, 96)))
    with pytest.raises(ValueError, match="takes no task with `head_inputs`"):
        spec = TaskSpec("a", 2, head_inputs=(0, 1))
        keras_memvit.build(model.backbone, [spec], attention="unmasked")
