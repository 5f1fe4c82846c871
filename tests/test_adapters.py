"""Adapters of a task's own stream: what they change, and what they cannot."""

import math
import types

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot
from reference import dense_forward

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import readouts
from keras_memvit.readouts.adapters.task_adapters import adapter_parameters

ADAPTERS = {"ia3": None, "lora": 3, "grouped": 4, "bottleneck": 3}
D, L, M = 32, 2, 64
COUNTS = {
    "ia3": L * (2 * D + M),
    "lora": L * 4 * 3 * D,
    "grouped": L * ((4 * D * D + 2 * D * M) // (D // 4) + 5 * D + M),
    "bottleneck": 2 * L * (2 * 3 * D + 3 + D),
}


def task(name, adapter=None, **options):
    rank = ADAPTERS.get(adapter)
    return TaskSpec(name, 3, 2, adapter=adapter, adapter_rank=rank, **options)


def build(backbone, *specs, seed=10):
    model = keras_memvit.build(backbone, list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, seed + i)
    return model


def images_for(backbone, count=4):
    shape = (count, *backbone.image_shape)
    return np.random.default_rng(1).integers(0, 256, shape, dtype="uint8")


@pytest.mark.parametrize("variant", ["vit", "swiglu", "rotary"])
def test_they_equal_changed_weights_in_numpy(variant):
    """The reference changes each weight itself, for the class token's own row."""
    shape = (48, 80, 3) if variant == "rotary" else (32, 48, 3)
    backbone = make_backbone(variant, image_shape=shape)
    specs = [task(k, k) for k in ADAPTERS]
    specs += [task("none"), task("on", "lora", sees=["ia3", "none"])]
    model, images = build(backbone, *specs), images_for(backbone)
    expected, _ = dense_forward(model, images)
    logits = model.predict(images, verbose=0)
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=3e-4, rtol=1e-3)


def test_it_starts_as_no_change(images):
    """To the bit, beside tasks without adapters; a compiler may round otherwise."""
    backbone = make_backbone("registers")
    kinds = [None, *ADAPTERS]
    deep = readouts.Deep(2)
    without = [task(f"t{i}", readout=deep) for i in range(5)]
    adapted = [task(f"t{i}", kind, readout=deep) for i, kind in enumerate(kinds)]
    plain = build(backbone, *without)
    model = keras_memvit.build(backbone, adapted)
    for name, layer in model.task_layers.items():
        own = plain.task_layers[name].arrays()
        layer.assign_arrays({**layer.arrays(), **own})
    batch = keras.ops.convert_to_tensor(images)
    found, expected = (m(batch, training=False) for m in (model, plain))
    for name in expected:
        a, b = (keras.ops.convert_to_numpy(x[name]) for x in (found, expected))
        np.testing.assert_array_equal(a, b)


def test_each_weight_changes_its_task_alone(images):
    """Beside others of its kind, whose tensors stand in one with its own."""
    kinds = [(f"{k}{i}", k) for k in ADAPTERS for i in range(2)]
    model = build(make_backbone(), task("none"), *(task(*pair) for pair in kinds))
    last = model.predict(images, verbose=0)
    rng = np.random.default_rng(0)
    for own, _ in kinds[::2]:
        for name, weight in model.task_layers[own].variables_by_name.items():
            if not name.startswith("adapter/"):
                continue
            value = keras.ops.convert_to_numpy(weight)
            weight.assign(value + rng.normal(size=value.shape).astype("float32"))
            after = model.predict(images, verbose=0)
            for other in last:
                if other != own:
                    np.testing.assert_array_equal(after[other], last[other])
            if name != "adapter/key/bias":  # alike for all base tokens, so it is small
                assert np.abs(after[own] - last[own]).max() > 1e-5, name
            last = after
    assert model.verify_unchanged(images)["base"] == 0.0


def test_they_have_exactly_their_parameters(backbone):
    model = build(backbone, *(task(k, k) for k in ADAPTERS))
    for name, layer in model.task_layers.items():
        assert layer.count_params() == (1 + 2 * 2) * 32 + (32 + 1) * 3 + COUNTS[name]
        own = layer.parameter_groups["adapter"]
        assert sum(math.prod(v.shape) for v in own) == COUNTS[name]


def test_side_by_side_they_answer_as_apart(images):
    backbone = make_backbone()
    models = [build(backbone, task(k, k), seed=i) for i, k in enumerate(ADAPTERS)]
    together = keras_memvit.concatenate(models)
    more = keras_memvit.extend(together, [task("on", "lora")], sees=["ia3"])
    found = more.predict(images, verbose=0)
    for model in models:
        for name, value in model.predict(images, verbose=0).items():
            np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_images_and_stores_train_all_of_it_alike(images, tmp_path):
    labels = {name: np.arange(8) % 3 for name in ADAPTERS}
    specs = [task(k, k) for k in ADAPTERS]
    model, other = (build(make_backbone(num_layers=1), *specs) for _ in "ab")
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path, dtype="float32", verbose=0
    )
    before, frozen = (
        snapshot(model.trainable_variables),
        snapshot(model.backbone.weights),
    )
    options = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    for trained, data in ((model, (store,)), (other, (images, labels))):
        trained.compile(keras.optimizers.SGD(0.1))
        trained.fit(*data, **options)
    for name, layer in model.task_layers.items():
        found, expected = layer.arrays(), other.task_layers[name].arrays()
        for key in found:
            np.testing.assert_allclose(found[key], expected[key], atol=1e-4)
    for path, value in snapshot(model.trainable_variables).items():
        assert np.abs(value - before[path]).max() > 0, path
    for path, value in snapshot(model.backbone.weights).items():
        np.testing.assert_array_equal(value, frozen[path])


def test_files_hold_them_and_say_so(images, tmp_path):
    backbone = make_backbone()
    model = build(backbone, *(task(k, k) for k in ADAPTERS), task("on", sees=["ia3"]))
    expected = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras_memvit.load_model(tmp_path / "model.keras")
    for name in model.task_layers:
        keras_memvit.save_task(model, name, tmp_path / f"{name}.safetensors")
    tasks = keras_memvit.load_task(backbone, tmp_path)
    for other in (loaded, tasks):
        found = other.predict(images, verbose=0)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    lines = []
    keras_memvit.inspect(tmp_path / "lora.safetensors", print_fn=lines.append)
    assert "adapter: lora, rank 3" in lines[0]
    plain = task("a").get_config()
    assert "adapter" not in plain and TaskSpec.from_config(plain) == task("a")
    key = model.task_layers["ia3"].variables_by_name["adapter/key"]
    key.assign(key + 1.0)  # what "on" was trained to see is another now
    keras_memvit.save_task(model, "ia3", tmp_path / "ia3.safetensors")
    with pytest.raises(ValueError, match="other versions of the tasks \\['ia3'\\]"):
        keras_memvit.load_task(backbone, tmp_path)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the artefact is TensorFlow's; test_readouts.py serves from every backend",
)
def test_both_exports_have_them(tmp_path):
    """Both compare every signature's answers with the model's, and fail otherwise."""
    specs = [task(k, k, readout="deep") for k in ADAPTERS]
    model = build(make_backbone("registers"), *specs, task("none", sees=["grouped"]))
    path = keras_memvit.export_saved_model(
        model, tmp_path / "people/1", warmup=False, image_bytes=False
    )
    assert path.is_dir()
    keras_memvit.export_onnx(model, tmp_path / "people.onnx")


def test_mixed_precision_stays_near(images):
    specs = [task(k, k) for k in ADAPTERS]
    single, model = (
        build(make_backbone(dtype=dtype), *specs) for dtype in (None, "mixed_bfloat16")
    )
    for m in (single, model):
        for layer in m.task_layers.values():
            arrays = layer.arrays()
            small = {k: 0.2 * v for k, v in arrays.items() if k.startswith("adapter/")}
            layer.assign_arrays({**arrays, **small})
    found, expected = (m.predict(images, verbose=0) for m in (model, single))
    for name, value in expected.items():
        scale = 1 + np.abs(value).max()
        np.testing.assert_allclose(found[name], value, atol=0.08 * scale)
        assert np.abs(found[name] - value).max() > 0
    for layer in model.task_layers.values():
        assert {w.dtype for w in layer.weights} == {"float32"}


def test_wild_tasks_leave_their_like_alone(images):
    wild = [task(f"wild-{k}", k) for k in ADAPTERS]
    model = build(make_backbone(), *(task(k, k) for k in ADAPTERS), *wild)
    before = model.predict(images, verbose=0)
    for spec in wild:
        for weight in model.task_layers[spec.name].weights:
            weight.assign(np.full(weight.shape, np.nan, "float32"))
    after = model.predict(images, verbose=0)
    for name in ADAPTERS:
        assert np.isnan(after[f"wild-{name}"]).all()
        np.testing.assert_array_equal(after[name], before[name])


def test_wrong_arguments_are_named(backbone):
    with pytest.raises(ValueError, match="`adapter` of task 'a' must be None or one"):
        TaskSpec("a", 2, adapter="prefix")
    with pytest.raises(ValueError, match="needs an adapter with a rank"):
        TaskSpec("a", 2, adapter="ia3", adapter_rank=2)
    with pytest.raises(ValueError, match="needs an adapter with a rank"):
        TaskSpec("a", 2, adapter_rank=2)
    with pytest.raises(ValueError, match="must be an integer of at least 1"):
        TaskSpec("a", 2, adapter="lora", adapter_rank=0)
    with pytest.raises(ValueError, match="must divide the backbone's hidden_dim=32"):
        spec = TaskSpec("a", 2, adapter="grouped", adapter_rank=5)
        keras_memvit.build(backbone, [spec])
    with pytest.raises(ValueError, match="takes no task with an adapter"):
        spec = TaskSpec("a", 2, adapter="lora")
        keras_memvit.build(backbone, [spec], attention="unmasked")
    assert TaskSpec("a", 2, adapter="lora").adapter_rank == 4


def test_they_are_as_small_as_the_papers_and_docs_say():
    def numbers(width, adapter):
        backbone = types.SimpleNamespace(
            hidden_dim=width,
            num_heads=width // 64,
            num_layers=12,
            mlp_dim=4 * width,
            activation="gelu",
        )
        found = adapter_parameters(TaskSpec("a", 2, adapter=adapter), backbone)
        return sum(math.prod(p.shape) for p in found.values())

    small = {"ia3": 27_648, "lora": 73_728, "grouped": 152_064, "bottleneck": 46_128}
    for adapter, count in small.items():
        assert numbers(384, adapter) == count
    assert numbers(768, "ia3") == 55_296  # T-Few's formula
    assert numbers(768, "grouped") == 304_128  # Consolidator's, 384 groups
