"""A frozen base in one or two bytes a weight: its size, its answers, its exactness."""

import gc
import weakref

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from families import FAMILIES

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.backbones.compact import compact
from keras_memvit.readouts.loop import num_queries

KINDS = {"bfloat16": {"dtype": "bfloat16"}, "int8": {"quantize": "int8"}}
SPECS = [TaskSpec("a", 3), TaskSpec("b", 2, readout="side")]
SPECS += [TaskSpec("c", 3, readout="deep")]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def backbone():
    return make_backbone(hidden_dim=64, mlp_dim=128)


@pytest.fixture
def model(backbone, kind):
    """A model of three tasks on the smaller base, and one on the whole base."""
    whole = keras_memvit.build(backbone, SPECS)
    small = keras_memvit.build(backbone, SPECS, **KINDS[kind])
    for i, spec in enumerate(SPECS):
        randomize(whole.task_layers[spec.name], seed=i)
        small.task_layers[spec.name].assign_arrays(
            whole.task_layers[spec.name].arrays()
        )
    return small, whole


def num_bytes(model):
    sizes = {"int8": 1, "bfloat16": 2, "float32": 4}
    return sum(
        int(np.prod(w.shape)) * sizes[keras.backend.standardize_dtype(w.dtype)]
        for w in model.weights
    )


def test_bytes(model, kind):
    small, whole = (num_bytes(m.backbone) for m in model)
    if kind == "bfloat16":
        assert small == whole / 2
    else:
        # 12 D² numbers a block are kernels; an output's scale is a float more.
        kernels = 2 * 8 * 64**2
        assert small == whole - 3 * kernels + 4 * 2 * (5 * 64 + 128)
    dtypes = {keras.backend.standardize_dtype(v.dtype) for v in _task_variables(model)}
    assert dtypes == {"float32"}


def _task_variables(model):
    return [v for t in model[0].task_layers.values() for v in t.trainable_variables]


def test_answers_are_close(model, images):
    small, whole = (m.predict(images, verbose=0) for m in model)
    for name, expected in whole.items():
        scale = np.abs(expected).max()
        difference = np.abs(small[name] - expected).max()
        assert 0 < difference < 0.1 * scale


def test_the_base_is_the_same_with_and_without_tasks(model, images):
    small = model[0]
    alone = keras_memvit.build(small.backbone, {"x": 2})
    assert alone.backbone is small.backbone
    more = keras_memvit.extend(small, {f"t{i}": 2 for i in range(6)})
    changes = more.verify_unchanged(images)
    assert changes["base"] == 0.0
    assert max(changes.values()) < (
        2e-5 if small.backbone.tokens_dtype == "float32" else 0.1
    )


def test_queries_of_many_tasks_take_one_form(backbone, images):
    """Few tasks could read through projected queries: not of int8 kernels."""
    small = keras_memvit.build(backbone, {"a": 2}, quantize="int8").backbone
    for _, base in small.base_layers(images, num_queries([TaskSpec("a", 2)])):
        assert not base.projects_queries_back


def test_training_reaches_the_tasks_and_nothing_else(model, images):
    small = model[0]
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in small.backbone.weights]
    tasks = {n: t.arrays() for n, t in small.task_layers.items()}
    small.compile(optimizer=keras.optimizers.SGD(0.1))
    labels = {spec.name: np.arange(8) % 2 for spec in SPECS}
    small.fit(images, labels, epochs=1, verbose=0)
    for weight, value in zip(small.backbone.weights, before):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)
    for name, arrays in tasks.items():
        for key, value in small.task_layers[name].arrays().items():
            assert (value != arrays[key]).any(), (name, key)


def test_task_files_travel_between_precisions(model, images, tmp_path, kind):
    small, whole = model
    path = tmp_path / "a.safetensors"
    keras_memvit.save_task(whole, "a", path)
    onto = keras_memvit.build(whole.backbone, {"x": 2}, **KINDS[kind])
    found = keras_memvit.load_task(onto, path).predict(images, verbose=0)["a"]
    np.testing.assert_allclose(
        found, small.predict(images, verbose=0)["a"], rtol=1e-5, atol=1e-5
    )
    keras_memvit.save_task(small, "b", tmp_path / "b.safetensors")
    back = keras_memvit.load_task(whole.backbone, tmp_path / "b.safetensors")
    expected = whole.predict(images, verbose=0)["b"]
    found = back.predict(images, verbose=0)["b"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    other = make_backbone(hidden_dim=64, mlp_dim=128, seed=9)
    other = keras_memvit.build(other, {"x": 2}, **KINDS[kind])
    with pytest.raises(ValueError, match="another backbone"):
        keras_memvit.load_task(other, path)


def test_a_model_file_round_trip(model, images, tmp_path):
    small = model[0]
    small.save(tmp_path / "small.keras")
    loaded = keras_memvit.load_model(tmp_path / "small.keras")
    assert loaded.backbone.fingerprint() == model[1].backbone.fingerprint()
    assert num_bytes(loaded.backbone) == num_bytes(small.backbone)
    for name, expected in small.predict(images, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(images, verbose=0)[name], expected)


def test_a_store_trains_as_the_images_do(backbone, kind, images, tmp_path):
    found = []
    for from_store in (False, True):
        model = keras_memvit.build(backbone, {"a": 3}, **KINDS[kind])
        model.task_layers["a"].start(0)
        model.compile(optimizer=keras.optimizers.SGD(0.05))
        data = (images, np.arange(8) % 3)
        if from_store:
            store = keras_memvit.precompute(model, data, tmp_path, dtype="float32")
            model.fit(store, epochs=2, shuffle=False, verbose=0)
        else:
            model.fit(*data, epochs=2, shuffle=False, verbose=0)
        found.append(model.task_layers["a"].arrays()["head/kernel"])
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3)


def test_models_of_different_precision_are_not_put_side_by_side(backbone, kind):
    whole = keras_memvit.build(backbone, {"a": 2})
    small = keras_memvit.build(backbone, {"b": 2}, **KINDS[kind])
    with pytest.raises(ValueError, match="of different precision"):
        keras_memvit.concatenate([whole, small])


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is TensorFlow's"
)
def test_it_is_served_as_it_answers(model, images, tmp_path):
    import tensorflow as tf

    path = keras_memvit.export_saved_model(
        model[0], tmp_path / "served", image_bytes=False, warmup=False
    )
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    found = served(images=tf.constant(images, "float32"))
    for name, expected in model[0].predict(images, verbose=0).items():
        difference = np.abs(found[f"{name}/logits"] - expected).max()
        assert difference < 0.05 * np.abs(expected).max()


def test_a_rival_wants_whole_weights(backbone, kind):
    small = keras_memvit.build(backbone, {"a": 2}, **KINDS[kind]).backbone
    with pytest.raises(ValueError, match="float32 weights"):
        keras_memvit.recipes.baseline(small, 2, "lora")


@pytest.mark.parametrize("frozen", [False, True])
def test_garbage_collection_is_left_as_it_was(backbone, frozen):
    """While kernels are replaced, what is there by now is kept out of it."""
    during = []

    def watch(phase, info):
        during.append(gc.get_freeze_count())

    gc.unfreeze()  # what conftest.py froze
    if frozen:  # by the user, as a server does before it forks
        gc.freeze()
    gc.callbacks.append(watch)
    try:
        compact(backbone, quantize="int8")
        assert (gc.get_freeze_count() > 0) == frozen
    finally:
        gc.callbacks.remove(watch)
        gc.freeze()
    assert max(during) > 0


def test_unknown_quantization(backbone):
    with pytest.raises(ValueError, match="quantize='int3'"):
        keras_memvit.build(backbone, {"a": 2}, quantize="int3")


@pytest.mark.parametrize("base", KINDS.values(), ids=KINDS)
def test_nothing_of_the_original_stays_in_memory(base):
    """Keras' lists know their layers: what came as an argument held all of these."""
    source = make_backbone("clip", image_mean=[0.4, 0.5, 0.6], use_qkv_bias=[True] * 3)
    embedding = weakref.ref(source.patch_embedding)
    model = keras_memvit.build(source, {"a": 2}, **base)
    del source
    gc.collect()
    assert embedding() is None
    assert model.backbone.image_mean == [0.4, 0.5, 0.6]


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="lists of parameters are torch's"
)
def test_no_list_of_parameters_keeps_float_kernels(backbone):
    model = keras_memvit.build(backbone, {"a": 2}, quantize="int8")
    kernels = [w.value for w in model.backbone.weights if "int8" in str(w.dtype)]
    shapes = {tuple(kernel.shape) for kernel in kernels}
    held = [p for p in model.backbone.parameters() if tuple(p.shape) in shapes]
    assert shapes and {str(p.dtype) for p in held} == {"torch.int8"}


def test_an_original_is_quantised_as_our_copy_of_it_is():
    """What was converted is nobody else's, and needs no second copy in memory."""
    source = FAMILIES["CLIP"][0]()
    copy = keras_memvit.build(source, {"a": 2}).backbone
    expected = keras_memvit.build(copy, {"a": 2}, quantize="int8").backbone
    found = keras_memvit.build(source, {"a": 2}, quantize="int8").backbone
    assert copy.quantization is None
    assert found.fingerprint() == copy.fingerprint()
    assert found.stored_fingerprint() == expected.stored_fingerprint()
    assert found.get_config().keys() == expected.get_config().keys()
