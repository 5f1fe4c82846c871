"""Task files: round trips, refusals, damage."""

import json

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from processes import BACKENDS
from processes import run_python
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save_file

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.tasks import task_file

BACKBONE = make_backbone()


def build(tasks, backbone=BACKBONE, seed=0):
    model = keras_memvit.build(backbone, tasks)
    for i, task in enumerate(model.task_layers.values()):
        randomize(task, seed + i)
    return model


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "faces.safetensors"
    model = build([TaskSpec("faces", 2, 3, class_names=["no", "yes"])], seed=3)
    keras_memvit.save_task(model, "faces", path)
    return model, path


def test_a_task_file_holds_what_it_says_and_no_backbone_weight(saved):
    model, path = saved
    tensors = load_file(path)
    assert {name: t.shape for name, t in tensors.items()} == {
        "class_token": (32,),
        "memory": (2, 3, 32),
        "head/kernel": (32, 2),
        "head/bias": (2,),
    }
    frozen = [keras.ops.convert_to_numpy(w).ravel() for w in model.backbone.weights]
    for tensor in tensors.values():
        assert not any(
            tensor.size == w.size and np.array_equal(tensor.ravel(), w) for w in frozen
        )
    card = []
    keras_memvit.inspect(path, print_fn=card.append)
    assert "task: faces\nclasses: 2 (no, yes)" in card[0]
    assert model.backbone.fingerprint() in card[0]


def test_a_deep_readout_is_in_the_file(tmp_path, images):
    path = tmp_path / "deep.safetensors"
    model = build([TaskSpec("deep", 2, readout="deep", num_query_tokens=3)], seed=3)
    keras_memvit.save_task(model, "deep", path)
    tensors = load_file(path)
    assert tensors["queries"].shape == (2, 3, 32)
    assert tensors["head/kernel"].shape == ((1 + 2 * 3) * 32, 2)
    both = keras_memvit.load_task(build({"digits": 3}), path)
    expected = model.predict(images, verbose=0)["deep"]
    logits = both.predict(images, verbose=0)["deep"]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    rewrite(path, lambda tensors, card: tensors.pop("queries"))
    with pytest.raises(ValueError, match=r"missing tensors \['queries'\]"):
        keras_memvit.load_task(BACKBONE, path)


def test_a_task_loads_beside_others_and_onto_a_backbone(saved, images):
    model, path = saved
    expected = model.predict(images, verbose=0)["faces"]
    digits = build({"digits": 3})
    both = keras_memvit.load_task(digits, path)
    assert [spec.name for spec in both.specs] == ["digits", "faces"]
    assert both.specs[1] == model.specs[0]
    logits = both.predict(images, verbose=0)
    np.testing.assert_allclose(logits["faces"], expected, atol=1e-5)
    np.testing.assert_allclose(
        logits["digits"], digits.predict(images, verbose=0)["digits"], atol=1e-5
    )
    alone = keras_memvit.load_task(BACKBONE, path)
    np.testing.assert_array_equal(alone.predict(images, verbose=0)["faces"], expected)


LOAD = """
import sys
import numpy as np
import keras_memvit
from conftest import make_backbone
model = keras_memvit.load_task(make_backbone(), sys.argv[1])
np.savez(sys.argv[3], **model.predict(np.load(sys.argv[2]), verbose=0))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_of_tasks_loads_on_every_backend(backend, images, tmp_path):
    model = build(
        [TaskSpec("z", 2), TaskSpec("b", 3, sees=["z"]), TaskSpec("a", 2, sees=["b"])]
    )
    folder = tmp_path / "tasks"
    folder.mkdir()
    for spec in model.specs:
        keras_memvit.save_task(model, spec.name, folder / f"{spec.name}.safetensors")
    np.save(tmp_path / "images.npy", images)
    run_python(LOAD, backend, folder, tmp_path / "images.npy", tmp_path / "logits.npz")
    logits = np.load(tmp_path / "logits.npz")
    for name, expected in model.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits[name], expected, atol=1e-5)


def test_a_reader_loads_only_beside_what_it_was_trained_to_read(tmp_path):
    model = build([TaskSpec("a", 2), TaskSpec("reader", 2, sees=["a"])])
    path = tmp_path / "reader.safetensors"
    keras_memvit.save_task(model, "reader", path)
    with pytest.raises(ValueError, match=r"sees the tasks \['a'\].*Missing: \['a'\]"):
        keras_memvit.load_task(BACKBONE, path)
    with pytest.raises(ValueError, match=r"other versions of the tasks \['a'\]"):
        keras_memvit.load_task(build({"a": 2}, seed=9), path)
    assert keras_memvit.load_task(keras_memvit.select(model, "a"), path)


def rewrite(path, change):
    """Applies `change(tensors, card)` to a task file, as if it were meant."""
    tensors = load_file(path)
    card = json.loads(safe_open(path, "numpy").metadata()["keras_memvit"])
    change(tensors, card)
    card = task_file.seal(card, tensors)
    save_file(tensors, path, metadata={"keras_memvit": json.dumps(card)})


def put(tensors, name, value):
    tensors[name] = value


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t, c: t.pop("memory"), r"missing tensors \['memory'\]"),
        (lambda t, c: put(t, "x", np.ones(1)), r"unexpected tensors \['x'\]"),
        (
            lambda t, c: put(t, "head/bias", np.ones(3, "float32")),
            r"'head/bias' must have shape \(2,\) and dtype F32.*shape \(3,\)",
        ),
        (lambda t, c: put(t, "head/bias", np.ones(2)), "'head/bias'.*dtype F64"),
        (
            lambda t, c: put(t, "head/bias", np.array([1, np.nan], "float32")),
            "'head/bias' holds values that are not finite",
        ),
        (lambda t, c: c.update(backbone="0" * 64), "another backbone.*000000000000"),
        (
            lambda t, c: c.update(format=2),
            "it has format 2; this version reads format 1",
        ),
        (lambda t, c: c.update(task=[]), "'task' of type dict"),
        (
            lambda t, c: c["task"].update(num_classes=0),
            "spec is not valid.*num_classes=0",
        ),
        (lambda t, c: c["task"].update(other=1), "spec is not valid.*other"),
        (lambda t, c: c.pop("needs"), "'needs' of type dict"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(saved, change, message):
    _, path = saved
    rewrite(path, change)
    with pytest.raises(ValueError, match=message):
        keras_memvit.load_task(BACKBONE, path)


HEADERS = [
    b"",
    b"\x00" * 8,
    (2**63).to_bytes(8, "little") + b"{}",
    (2**20).to_bytes(8, "little") + b"{" * 2**20,
    (200_000).to_bytes(8, "little") + b"[" * 200_000,
    (2).to_bytes(8, "little") + b"[]",
    (4).to_bytes(8, "little") + b"null",
]


@pytest.mark.parametrize("content", HEADERS, ids=range(len(HEADERS)))
def test_a_hostile_header_is_refused(content, tmp_path):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be loaded as a task file"):
        keras_memvit.load_task(BACKBONE, path)


def test_deeply_nested_metadata_is_refused(saved):
    _, path = saved
    nested = "[" * 100_000
    save_file(load_file(path), path, metadata={"keras_memvit": nested})
    with pytest.raises(ValueError, match="is no JSON"):
        keras_memvit.load_task(BACKBONE, path)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damage_is_refused_or_harmless(data, saved):
    """Truncation anywhere is refused; flipped bits never give a broken model."""
    _, path = saved
    content = bytearray(path.read_bytes())
    damaged = path.with_name("damaged.safetensors")
    if data.draw(st.booleans(), label="truncate"):
        damaged.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(ValueError, match="cannot be loaded as a task file"):
            keras_memvit.load_task(BACKBONE, damaged)
        return
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(
            st.integers(0, 7)
        )
    damaged.write_bytes(content)
    try:
        model = keras_memvit.load_task(BACKBONE, damaged)
    except ValueError:
        return
    for weight in model.weights:
        assert np.isfinite(keras.ops.convert_to_numpy(weight)).all()


def test_bad_arguments_are_named(saved, tmp_path):
    model, path = saved
    with pytest.raises(ValueError, match=r"`name` must be a task.*\['faces'\].*'x'"):
        keras_memvit.save_task(model, "x", path)
    with pytest.raises(ValueError, match="none at"):
        keras_memvit.load_task(model, tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="task 'faces', which the model has already"):
        keras_memvit.load_task(model, path)
    with pytest.raises(ValueError, match="another backbone"):
        keras_memvit.load_task(make_backbone(seed=5), path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="There are none in"):
        keras_memvit.load_task(model, tmp_path / "empty")
    bias = model.task_layers["faces"].variables_by_name["head/bias"]
    bias.assign(np.array([np.inf, 0], "float32"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"not finite in \['head/bias'\]"):
        keras_memvit.save_task(model, "faces", path)
    assert path.read_bytes() == before
