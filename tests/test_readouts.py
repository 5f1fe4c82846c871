"""What every readout must do: one suite over all that are registered, and a stranger's.

Isolation, concatenation, mixtures, stores, files, configs, the SavedModel, parameter
counts, a NumPy reference, gradients.
"""

import json
import math

import keras
import numpy as np
import pytest
import stranger
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot
from conftest import softmax_shapes
from processes import BACKENDS
from processes import run_python
from reference import dense_forward

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import readouts

READOUTS = {
    "class_token": readouts.ClassToken(),
    "deep": readouts.Deep(num_query_tokens=2),
    "side": readouts.Side(rank=4, num_heads=2),
    "synthesised": readouts.Synthesised(num_query_tokens=2, rank=3),
    "mean_patch": stranger.MeanPatch(),
}
# Numbers of a task of 3 classes and 2 memory tokens beside class token, memory and the
# class token's part of the head; D = 32, L = 2.
OWN = {
    "class_token": 0,
    "deep": 2 * 2 * 32 + 2 * 2 * 32 * 3,
    "side": 2 * (32 * 4 + 6 * 4 * 4 + 9 * 4) + 4 + 2 * 4 * 3,
    "synthesised": 2 * 2 * 32 + 2 * 2 * 3 * 32 + 1 + 2 * 3 * 32 + 6 * 33 + 32 * 3,
    "mean_patch": 32 + 32 * 3,
}
GRIDS = {
    "vit": (32, 48, 3),
    "registers": (48, 32, 3),
    "no_class_token": (64, 80, 3),
    "rotary": (48, 80, 3),
}


@pytest.fixture(params=READOUTS)
def readout(request):
    return READOUTS[request.param]


def build(backbone, *specs, seed=10):
    model = keras_memvit.build(backbone, list(specs))
    for i, task in enumerate(model.task_layers.values()):
        randomize(task, seed + i)
    return model


def task(name, readout, **options):
    return TaskSpec(name, 3, 2, readout=readout, **options)


def images_for(backbone, count=4):
    shape = (count, *backbone.image_shape)
    return np.random.default_rng(1).integers(0, 256, shape, dtype="uint8")


def test_every_registered_readout_is_covered():
    ours = {
        name
        for name, cls in readouts.known_readouts().items()
        if cls.__module__.startswith("keras_memvit.")
    } - {"image_embedding"}  # of image-text backbones: test_text_start.py
    assert set(READOUTS) == {*ours, "mean_patch"}


@pytest.mark.parametrize("variant", GRIDS)
def test_it_equals_its_definition_in_numpy(readout, variant):
    backbone = make_backbone(variant, image_shape=GRIDS[variant])
    specs = [task("a", readout), task("b", readout, sees=["a"], memory_norm=False)]
    model, images = build(backbone, *specs), images_for(backbone)
    expected, _ = dense_forward(model, images)
    logits = model.predict(images, verbose=0)
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=2e-4, rtol=1e-4)


def test_what_is_perturbed_changes_itself_alone(readout, images):
    model = build(make_backbone(), task("a", readout), task("b", readout))
    before = model.predict(images, verbose=0)
    tokens = keras.ops.convert_to_numpy(model.encoder.base_tokens(images))
    rng = np.random.default_rng(0)
    for weight in model.task_layers["b"].weights:  # each of its weights counts
        last = model.predict(images, verbose=0)["b"]
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(value + rng.normal(size=value.shape).astype("float32"))
        after = model.predict(images, verbose=0)
        assert np.abs(after["b"] - last).max() > 1e-4, weight.path
        np.testing.assert_array_equal(after["a"], before["a"])
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model.encoder.base_tokens(images)), tokens
    )


def test_any_mixture_answers_as_each_alone(images):
    """All kinds, two tasks of each, tasks that see others: as in their own models."""
    backbone = make_backbone("registers")
    models = [
        build(backbone, task(f"{name}{i}", r), seed=17 * i + k)
        for i in range(2)
        for k, (name, r) in enumerate(READOUTS.items())
    ]
    sees = [name for name in READOUTS if name != "deep"]
    models[0] = keras_memvit.extend(models[0], [task("on", READOUTS["side"])])
    randomize(models[0].task_layers["on"], 99)
    together = keras_memvit.concatenate(models)
    logits = together.predict(images, verbose=0)
    for model in models:
        for name, value in model.predict(images, verbose=0).items():
            np.testing.assert_allclose(logits[name], value, atol=1e-5)
    more = keras_memvit.extend(
        together, [task("last", READOUTS["deep"])], sees=[f"{name}0" for name in sees]
    )
    for name, value in more.predict(images, verbose=0).items():
        if name != "last":
            np.testing.assert_allclose(value, logits[name], atol=1e-5)


def test_a_store_answers_and_trains_as_images_do(readout, images, tmp_path):
    labels = np.arange(8) % 3
    model, other = (build(make_backbone("registers"), task("a", readout)) for _ in "ab")
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path, dtype="float32", verbose=0
    )
    np.testing.assert_allclose(
        model.predict(store, verbose=0)["a"],
        model.predict(images, verbose=0)["a"],
        atol=1e-5,
    )
    options = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    for trained, data in ((model, (store,)), (other, (images, labels))):
        trained.compile(keras.optimizers.SGD(0.01, global_clipnorm=1.0))
        trained.fit(*data, **options)
    found = snapshot(model.task_layers["a"].weights)
    for path, value in snapshot(other.task_layers["a"].weights).items():
        np.testing.assert_allclose(found[path], value, atol=1e-4)


def test_it_has_exactly_its_parameters(readout, backbone):
    model = build(backbone, task("a", readout))
    count = sum(math.prod(v.shape) for v in model.trainable_variables)
    assert count == (1 + 2 * 2) * 32 + (32 + 1) * 3 + OWN[readout.name]


def test_a_step_moves_each_own_variable_and_no_frozen_one(readout, images):
    model = build(make_backbone(), task("a", readout), task("b", readout))
    for weights in model.task_layers.values():
        weights.start(0)
    # What starts as zeros may keep others still for a first step.
    labels = {"a": np.arange(8) % 3, "b": np.arange(8) % 3}
    frozen = snapshot(model.backbone.weights)
    before = snapshot(model.trainable_variables)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    for path, value in snapshot(model.backbone.weights).items():
        np.testing.assert_array_equal(value, frozen[path])
    for path, value in snapshot(model.trainable_variables).items():
        assert np.abs(value - before[path]).max() > 0, path


def test_a_wild_task_leaves_its_like_alone(readout, images):
    """A task whose values are not finite, computed together with others."""
    specs = [task("a", readout), TaskSpec("wild", 2, 5, readout=readout)]
    model = build(make_backbone(), *specs, TaskSpec("c", 2, 3, sees=["a"]))
    before = model.predict(images, verbose=0)
    for weight in model.task_layers["wild"].weights:
        weight.assign(np.full(weight.shape, np.nan, "float32"))
    after = model.predict(images, verbose=0)
    assert np.isnan(after["wild"]).all()
    for name in ("a", "c"):
        np.testing.assert_array_equal(after[name], before[name])


def test_config_and_model_round_trips(readout, images, tmp_path):
    spec = task("a", readout)
    config = json.loads(json.dumps(spec.get_config()))
    assert TaskSpec.from_config(config) == spec
    model = build(make_backbone(), spec)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.specs == model.specs
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0)["a"], model.predict(images, verbose=0)["a"]
    )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_near(readout, dtype, images, tmp_path):
    """Base tokens in half precision; a task's own tensors stay float32."""
    single = build(make_backbone(), task("a", readout))
    model = build(make_backbone(dtype=dtype), task("a", readout))
    expected = single.predict(images, verbose=0)["a"]
    scale = 1 + np.abs(expected).max()
    logits = model.predict(images, verbose=0)["a"]
    np.testing.assert_allclose(logits, expected, atol=0.05 * scale)
    assert model.verify_unchanged(images)["base"] == 0.0
    values = model.task_layers["a"].task().weights.values()
    assert {keras.backend.standardize_dtype(v.dtype) for v in values} == {"float32"}
    labels = np.arange(8) % 3
    store = keras_memvit.precompute(model, (images, labels), tmp_path, verbose=0)
    found = model.predict(store, verbose=0)["a"]
    np.testing.assert_allclose(found, logits, atol=0.05 * scale)
    model.compile()
    loss = model.fit(images, labels, verbose=0).history["loss"]
    assert np.isfinite(loss).all()


@pytest.mark.filterwarnings("ignore:The loss of task 'a' is nan")
def test_an_image_that_is_not_finite_harms_no_task_without_a_label_for_it(
    readout, tmp_path
):
    """NaN or too large for the encoder, from images and from a store."""
    images = images_for(make_backbone(), 8).astype("float32")
    images[0], images[1, 0, 0, 0] = np.nan, 3e38
    labels = {"a": np.arange(8) % 3, "b": np.where(np.arange(8) < 2, -1, 1)}
    model = build(make_backbone(), task("a", readout), task("b", readout))
    model.compile(keras.optimizers.SGD(0.1))
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path, dtype="float32", verbose=0
    )
    for data in ((images, labels), (store,)):
        history = model.fit(*data, batch_size=8, verbose=0).history
        assert np.isnan(history["a_loss"][0]) and np.isfinite(history["b_loss"][0])
        for value in snapshot(model.trainable_variables).values():
            assert np.isfinite(value).all()


LOAD = """
import sys

import keras
import numpy as np
import stranger
import keras_memvit

folder, *paths = sys.argv[1:]
model = keras.saving.load_model(f"{folder}/backbone.keras")
for path in paths:
    model = keras_memvit.load_task(model, path)
images = np.load(f"{folder}/images.npy")
np.savez(f"{folder}/{keras.backend.backend()}.npz", **model.predict(images, verbose=0))
"""


def test_task_files_round_trip_across_backends(images, tmp_path):
    backbone = make_backbone()
    model = build(backbone, *(task(name, r) for name, r in READOUTS.items()))
    expected = model.predict(images, verbose=0)
    backbone.save(tmp_path / "backbone.keras")
    np.save(tmp_path / "images.npy", images)
    paths = [tmp_path / f"{name}.safetensors" for name in READOUTS]
    for path in paths:
        keras_memvit.save_task(model, path.stem, path)
    for backend in BACKENDS:
        run_python(LOAD, backend, tmp_path, *paths)
        logits = np.load(tmp_path / f"{backend}.npz")
        for name in expected:
            np.testing.assert_allclose(logits[name], expected[name], atol=1e-4)


def test_the_saved_model_and_onnx_answer_as_the_model(images, tmp_path):
    """All kinds in one export, each in a signature of its own too."""
    model = build(
        make_backbone("registers"),
        *(task(name, r) for name, r in READOUTS.items()),
        task("sees", READOUTS["side"], sees=["deep"]),
    )
    # Both compare every signature's answers with the model's, and fail otherwise.
    path = keras_memvit.export_saved_model(
        model, tmp_path / "people" / "1", warmup=False
    )
    card = json.loads((path / "assets.extra/keras_memvit.json").read_text())
    assert set(card["largest_difference"]) == {*READOUTS, "sees"}
    assert max(card["largest_difference"].values()) < 1e-4
    keras_memvit.export_onnx(model, tmp_path / "people.onnx")


def test_readouts_that_are_equal_are_computed_together(images):
    """Fifty class tokens are one attention, and five side streams one stream."""
    model = build(
        make_backbone(),
        *(TaskSpec(f"t{i}", 2, 3) for i in range(50)),
        *(task(f"s{i}", readouts.Side(rank=4, num_heads=2)) for i in range(5)),
    )
    shapes = softmax_shapes(model, images)
    class_tokens = [shape for shape in shapes if shape[2:3] == (55,)]
    assert len(class_tokens) <= 2 * model.backbone.num_layers
