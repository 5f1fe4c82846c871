"""What a task chose to read, in files, other models and exports."""

import dataclasses
import json

import keras
import numpy as np
import pytest
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
from keras_memvit import TaskSpec
from keras_memvit.tasks.reads import fixed_specs


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
