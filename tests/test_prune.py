"""`recipes.prune`: a task within its bytes, made of the parts that it keeps."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from parts import DEEP
from parts import SIDE
from parts import C
from parts import D
from parts import L
from parts import answers
from parts import build
from parts import pruned_by_hand
from parts import task

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.recipes import prune
from keras_memvit.tasks.packed import pack
from keras_memvit.tasks.packed import unpack
from keras_memvit.tasks.task_file import read_shapes


def size(spec, backbone):
    model = keras_memvit.build(backbone, [spec])
    return 4 * model.task_layers[spec.name].count_params()


@pytest.mark.parametrize("readout", [DEEP, SIDE], ids=["deep", "side"])
def test_the_file_is_within_the_budget(images, tmp_path, readout):
    """From a store, the same on each run, and other tasks stay."""
    backbone = make_backbone()
    spec = task(readout=readout, adapter="ia3")
    model = build(spec, task("b"), backbone=backbone)
    labels = {"a": np.arange(8) % C, "b": np.arange(8) % C}
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path / "store", dtype="float32", verbose=0
    )
    budget, expected = int(0.6 * size(spec, backbone)), answers(model, images, "b")
    first, again = (prune(model, "a", budget, store, epochs=3) for _ in range(2))
    path = tmp_path / "a.safetensors"
    keras_memvit.save_task(first, "a", path)
    held = sum(4 * int(np.prod(shape)) for shape in read_shapes(path).values())
    assert 0 < held <= budget
    assert first.specs == again.specs and type(first.specs[0]) is TaskSpec
    for name, value in first.task_layers["a"].arrays().items():
        np.testing.assert_array_equal(value, again.task_layers["a"].arrays()[name])
    np.testing.assert_allclose(answers(first, images, "b"), expected, atol=1e-5)
    assert first.verify_unchanged(images)["base"] == 0.0
    assert model.specs[0] == spec  # the given model is as it was
    loaded = keras_memvit.load_task(backbone, path)
    found = answers(loaded, images)
    np.testing.assert_allclose(found, answers(first, images), atol=1e-5)


def test_from_arrays_and_twice(images):
    """A pruned task is pruned further, and what learns goes on learning."""
    model, data = build(task(head_inputs=range(10, 140))), (images, np.arange(8) % C)
    first = prune(model, "a", 2400, data, epochs=2)
    second = prune(first, "a", 1300, data, epochs=2)
    for one, other in ((model, first), (first, second)):
        kept, fewer = (set(m.specs[0].head_inputs) for m in (one, other))
        assert fewer < kept and fewer >= set(range(10, D))  # the class token's
    rows = [unpack(dict(m.specs[0].kept)["queries"], 1) for m in (first, second)]
    assert (rows[0] >= rows[1]).all() and rows[0].sum() > rows[1].sum()
    for small, budget in ((first, 2400), (second, 1300)):
        assert 4 * small.task_layers["a"].count_params() <= budget
    before = second.task_layers["a"].arrays()
    second.compile(keras.optimizers.SGD(0.1))
    second.fit(*data, verbose=0)
    for name, value in second.task_layers["a"].arrays().items():
        assert np.abs(value - before[name]).max() > 0, name


@pytest.mark.backend_free
def test_a_task_that_chooses_what_it_reads_fixes_it(images, tmp_path):
    model = build(task("b"), task(sees=["b"], sees_budget=0.5))
    small = prune(model, "a", 2200, (images, np.arange(8) % C), epochs=1)
    assert small.specs[0] == model.specs[0] and small.specs[1].reads is not None
    for name in ("b", "a"):
        keras_memvit.save_task(small, name, tmp_path / f"{name}.safetensors")
    loaded = keras_memvit.load_task(model.backbone, tmp_path)
    found, expected = answers(loaded, images), answers(small, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_within_its_budget_a_task_is_left_as_it_is(images):
    model = build(task())
    same = prune(model, "a", "1MB", None)
    assert same.specs == model.specs
    np.testing.assert_array_equal(answers(same, images), answers(model, images))


@pytest.mark.parametrize(
    "readout",
    [DEEP, pytest.param(SIDE, marks=pytest.mark.backend_free)],
    ids=["deep", "side"],
)
def test_it_goes_wherever_a_task_goes(images, tmp_path, readout):
    backbone = make_backbone()
    model = build(task(readout=readout, adapter="bottleneck"), backbone=backbone)
    small = pruned_by_hand(model)
    expected = answers(small, images)
    small.save(tmp_path / "small.keras")
    path = tmp_path / "a.safetensors"
    keras_memvit.save_task(small, "a", path)
    other = build(task("b", readout, adapter="bottleneck"), backbone=backbone)
    extended = keras_memvit.extend(small, {"new": 2}, sees=["a"])
    keras_memvit.save_task(extended, "new", tmp_path / "new.safetensors")
    for loaded in (
        keras_memvit.load_model(tmp_path / "small.keras"),
        keras_memvit.load_task(backbone, path),
        keras_memvit.load_task(other, path),
        keras_memvit.concatenate([other, small]),
        keras_memvit.select(extended, "a"),
        extended,
    ):
        np.testing.assert_allclose(answers(loaded, images), expected, atol=1e-5)
    keras_memvit.load_task(small, tmp_path / "new.safetensors")
    bank = keras_memvit.TaskBank(backbone)
    bank.load(path)
    np.testing.assert_allclose(bank.predict(images, ["a"])["a"], expected, atol=1e-4)
    spec = small.specs[0]
    assert TaskSpec.from_config(spec.get_config()) == spec
    lines = []
    keras_memvit.inspect(path, print_fn=lines.append)
    assert "kept of adapter: 1" in lines[0]
    assert "kept" not in task().get_config()


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is TensorFlow's"
)
def test_exports_have_it(images, tmp_path):
    """They compare every signature's answers with the model's, and fail otherwise."""
    backbone = make_backbone()
    deep = pruned_by_hand(build(task(adapter="lora"), backbone=backbone))
    whole = build(task("b", adapter="lora"), backbone=backbone)
    both = keras_memvit.concatenate([deep, whole])
    path = tmp_path / "people/1"
    keras_memvit.export_saved_model(both, path, warmup=False, image_bytes=False)
    keras_memvit.export_onnx(both, tmp_path / "people.onnx")


@pytest.mark.backend_free
def test_wrong_arguments_are_named(images):
    model, data = build(task(), task("on", sees=["a"])), (images, np.arange(8) % C)
    one = keras_memvit.select(model, "a")
    fixed = D + C + D * C  # class token, the head on it
    least = 4 * (fixed + L * D + D * (1 + C))
    for budget in ("100B", least - 1):
        with pytest.raises(ValueError, match=f"`budget` must be at least {least:,} by"):
            prune(one, "a", budget, data)
    for budget in (0, -5, True, 0.5, None, "much"):
        with pytest.raises(ValueError, match="`budget`.*Received: budget="):
            prune(one, "a", budget, data)
    with pytest.raises(ValueError, match="`name` must be a task of the model"):
        prune(one, "c", 2000, data)
    with pytest.raises(ValueError, match="`epochs` must be an int of at least 1"):
        prune(one, "a", 2000, data, epochs=0)
    with pytest.raises(ValueError, match=r"no other sees.*\['on'\] see"):
        prune(model, "a", 2000, data)
    with pytest.raises(ValueError, match="`data` must have labels of the task 'a'"):
        prune(one, "a", 2000, (images, {"b": data[1]}))
    many = {"queries": pack(np.ones((1 << 16) + 1), 1)}
    for kept in ({}, {"queries": "AA=="}, {"queries": 3}, "*", many):
        with pytest.raises(ValueError, match="`kept` of task 'a' must be a dict"):
            TaskSpec("a", C, kept=kept)
    for kept, reason in (
        ({"queries": "/w=="}, "a bit for each of the 4 rows"),
        ({"queries": "AQAA"}, "a bit for each of the 4 rows"),
        ({"side": "AQ=="}, "must be of groups in parts"),
    ):
        with pytest.raises(ValueError, match=f"`kept` of task 'a' .*{reason}"):
            build(task(kept=kept))
    with pytest.raises(ValueError, match="takes no task with `kept`"):
        spec = TaskSpec("a", C, kept={"queries": "AQ=="})
        keras_memvit.build(model.backbone, [spec], attention="unmasked")
