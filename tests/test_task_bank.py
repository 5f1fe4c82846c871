"""A bank answers as each task's own model does, whoever comes and goes."""

import threading

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskBank
from keras_memvit import TaskSpec
from keras_memvit.serving.bank import answering

SPECS = [
    TaskSpec("plain", 3),
    TaskSpec("few", 2, num_memory_tokens=2),
    TaskSpec("raw", 4, num_memory_tokens=3, memory_norm=False),
    TaskSpec("deep", 5, readout="deep"),
    TaskSpec("side", 3, readout="side"),
    TaskSpec("lora", 3, adapter="lora"),
    TaskSpec("norms", 3, feature_norm=True),
    TaskSpec("narrow", 3, readout="deep", head_inputs=[0, 5, 40, 70]),
    TaskSpec("labels", 4, kind="multi_label"),
    TaskSpec("number", 2, kind="regression"),
]
NAMES = [spec.name for spec in SPECS]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A backbone, files of tasks trained apart, and each one's own model."""
    folder = tmp_path_factory.mktemp("tasks")
    backbone = make_backbone()
    models = {}
    for i, spec in enumerate(SPECS):
        model = keras_memvit.build(backbone, spec)
        randomize(model.task_layers[spec.name], seed=i)
        if spec.kind == "regression":
            model.task_layers[spec.name].variables_by_name["target/scale"].assign(
                [3.0, 0.5]
            )
        keras_memvit.save_task(model, spec.name, folder / f"{spec.name}.safetensors")
        models[spec.name] = model
    return backbone, folder, models


@pytest.fixture
def bank(files):
    backbone, folder, _ = files
    bank = TaskBank(backbone, max_memory_tokens=6, max_classes=5)
    for name in NAMES:
        assert bank.load(folder / f"{name}.safetensors") == name
    return bank


def test_answers_are_the_own_models(files, bank, images):
    answers = bank.predict(images, tasks=NAMES)
    for name, model in files[2].items():
        expected = model.predict(images, verbose=0)[name]
        np.testing.assert_allclose(answers[name], expected, rtol=1e-5, atol=1e-5)


def test_each_image_has_tasks_of_its_own(files, bank, images):
    asked = [["plain"], ["side", "plain"], [], ["number"], ["deep"], ["lora"]]
    answers = bank.predict(images[:6], tasks=asked, batch_size=4)
    assert [list(row) for row in answers] == asked
    for i, row in enumerate(answers):
        for name, found in row.items():
            expected = files[2][name].predict(images[i : i + 1], verbose=0)[name][0]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def own_alone(monkeypatch):
    """Every image's own tasks are computed alone, however few there are."""
    monkeypatch.setattr(answering, "SPARE", 0)


def test_each_images_own_tasks_alone(files, bank, images, own_alone):
    asked = [["plain", "few"], ["side"], NAMES, [], ["lora", "norms"], ["narrow"]]
    answers = bank.predict(images[:6], tasks=asked)
    for i, row in enumerate(answers):
        assert list(row) == asked[i]
        for name, found in row.items():
            expected = files[2][name].predict(images[i : i + 1], verbose=0)[name][0]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    compiled = bank.num_compilations
    bank.predict(images[:6], tasks=[*asked[1:], ["raw", "plain"]])
    assert bank.num_compilations == compiled


def test_who_comes_and_goes_compiles_nothing_and_changes_nothing(files, images):
    backbone, folder, _ = files
    bank = TaskBank(backbone, max_memory_tokens=6, max_classes=5)
    bank.load(folder / "plain.safetensors")
    before = bank.predict(images, tasks=["plain"])["plain"]
    assert bank.num_compilations == 2  # the backbone's pass and the tasks'
    for name in NAMES[1:]:
        bank.load(folder / f"{name}.safetensors")
    bank.unload("few")
    again = bank.predict(images, tasks=["plain"])["plain"]
    np.testing.assert_array_equal(again, before)
    bank.predict(images, tasks=["raw"])  # of the same kind, as many images
    bank.predict(images[:5], tasks=["labels"])  # padded to eight images
    assert bank.num_compilations == 2


def test_padding_of_images_and_tasks_changes_no_answer(bank, images):
    three = bank.predict(images[:3], tasks=["plain", "few", "raw"])
    one = bank.predict(images[:1], tasks=["raw"])["raw"]
    np.testing.assert_allclose(one[0], three["raw"][0], rtol=1e-5, atol=1e-5)


def test_answers_while_others_come_and_go(files, bank, images):
    """Threads ask and a thread loads and unloads: every answer is the right one."""
    folder = files[1]
    expected = bank.predict(images, tasks=["plain", "deep"])
    wrong, done = [], threading.Event()

    def ask():
        while not done.is_set():
            found = bank.predict(images, tasks=["plain", "deep"])
            if any((found[n] != expected[n]).any() for n in expected):
                wrong.append(found)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for thread in askers:
        thread.start()
    for _ in range(5):
        for name in ("few", "side", "number"):
            bank.unload(name)
            bank.load(folder / f"{name}.safetensors")
    done.set()
    for thread in askers:
        thread.join()
    assert not wrong


def test_no_image_no_answer(bank, images):
    assert bank.predict(images[:0], tasks=["plain"])["plain"].shape == (0, 3)
    assert bank.predict(images[:0], tasks=[]) == {}


def test_bytes_are_the_tasks(files, bank):
    sizes = [
        sum(w.size for w in model.task_layers[name].arrays().values()) * 4
        for name, model in files[2].items()
    ]
    # Mean and scale are in the head; the narrow head takes all 96 inputs.
    assert bank.nbytes == sum(sizes) - 2 * 2 * 4 + (96 - 4) * 3 * 4


def test_overwrite_takes_the_new_one(files, bank, images, tmp_path):
    model = keras_memvit.build(files[0], TaskSpec("plain", 4))
    randomize(model.task_layers["plain"], seed=99)
    path = tmp_path / "plain.safetensors"
    keras_memvit.save_task(model, "plain", path)
    with pytest.raises(ValueError, match="loaded already"):
        bank.load(path)
    bank.load(path, overwrite=True)
    found = bank.predict(images, tasks=["plain"])["plain"]
    expected = model.predict(images, verbose=0)["plain"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "limits, name, words",
    [
        ({"capacity": 1}, "few", "`capacity` is 1"),
        ({"max_classes": 2}, "raw", "`max_classes` is 2. Received: 4"),
        ({"max_memory_tokens": 4}, "plain", "`max_memory_tokens` is 4. Received: 5"),
        ({"readouts": ("deep",)}, "side", "takes the `readouts`"),
    ],
)
def test_what_the_bank_does_not_take(files, limits, name, words):
    backbone, folder, _ = files
    bank = TaskBank(backbone, **limits)
    if "capacity" in limits:
        bank.load(folder / "plain.safetensors")
    held = list(bank.specs)
    with pytest.raises(ValueError, match=words):
        bank.load(folder / f"{name}.safetensors")
    assert list(bank.specs) == held


def test_tasks_that_see_others_and_other_backbones_are_refused(files, tmp_path):
    backbone, folder, models = files
    more = keras_memvit.extend(models["plain"], {"seer": 2}, sees=["plain"])
    keras_memvit.save_task(more, "seer", tmp_path / "seer.safetensors")
    with pytest.raises(ValueError, match="sees others"):
        TaskBank(backbone).load(tmp_path / "seer.safetensors")
    with pytest.raises(ValueError, match="another backbone"):
        TaskBank(make_backbone(seed=5)).load(folder / "plain.safetensors")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"tasks": ["nobody"]}, "must be loaded.*'nobody'"),
        ({"tasks": "plain"}, "must be names of tasks"),
        ({"tasks": []}, "must be names of tasks"),
        ({"tasks": [["plain"]]}, "for each of the 8 images. Received: 1"),
        ({"tasks": ["plain"], "batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_questions(bank, images, arguments, words):
    with pytest.raises(ValueError, match=words):
        bank.predict(images, **arguments)
    with pytest.raises(ValueError, match="must have the shape"):
        bank.predict(images[:, :8], tasks=["plain"])


def test_the_backbone_stays_the_callers(files, bank, images):
    backbone = files[0]
    before = [keras.ops.convert_to_numpy(w) for w in backbone.weights]
    bank.predict(images, tasks=NAMES)
    for weight, value in zip(backbone.weights, before):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)
