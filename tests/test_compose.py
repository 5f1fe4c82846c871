"""`concatenate`, `extend`, `select`: old answers stay, weights are shared."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot
from reference import dense_forward

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.layers import BaseClassifier
from keras_memvit.models.memory_vit import MemoryViT


def build(tasks, backbone=None, seed=0):
    model = keras_memvit.build(backbone or make_backbone(), tasks)
    for i, task in enumerate(model.task_layers.values()):
        randomize(task, seed + i)
    return model


def make_classifier(backbone):
    classifier = BaseClassifier(5, name="base")
    classifier.build((None, None, backbone.hidden_dim))
    return randomize(classifier)


def assert_same(logits, expected):
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-5)


def test_concatenated_tasks_answer_as_each_alone(images):
    """Built apart, on two copies of one backbone; one brings an extension."""
    digits = build({"digits": 3}, seed=1)
    faces = build([TaskSpec("faces", 2, 7)], seed=2)
    glasses = keras_memvit.extend(faces, {"glasses": 2}, sees=["faces"])
    randomize(glasses.task_layers["glasses"], 3)
    both = keras_memvit.concatenate([digits, glasses])
    assert [spec.name for spec in both.specs] == ["digits", "faces", "glasses"]
    assert both.backbone is digits.backbone
    logits = both.predict(images, verbose=0)
    assert_same(logits, digits.predict(images, verbose=0))
    assert_same(logits, glasses.predict(images, verbose=0))
    assert_same(logits, dense_forward(both, images)[0])


def test_extending_changes_nothing_and_freezes_what_was_there(images):
    model = build({"a": 3, "b": 2}, seed=1)
    before = model.predict(images, verbose=0)
    more = keras_memvit.extend(
        model,
        [TaskSpec("c", 2), TaskSpec("d", 4, sees=["c"])],
        sees=["b"],
    )
    assert more.specs[2].sees == ("b",)
    assert more.specs[3].sees == ("c", "b")
    assert more.trained_tasks == ["c", "d"]
    assert model.trained_tasks == ["a", "b"]
    frozen = snapshot(more.non_trainable_variables)
    more.compile()
    labels = {"c": np.arange(8) % 2, "d": np.arange(8) % 4}
    more.fit(images, labels, epochs=2, verbose=0)
    for path, value in snapshot(more.non_trainable_variables).items():
        if path in frozen and "seed" not in path:
            np.testing.assert_array_equal(value, frozen[path])
    assert_same(more.predict(images, verbose=0), before)


def test_extending_may_leave_old_tasks_trainable():
    more = keras_memvit.extend(build({"a": 3}), {"b": 2}, freeze=False)
    assert more.trained_tasks == ["a", "b"]


def test_selecting_keeps_what_the_selected_see(images):
    model = build(
        [TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"]), TaskSpec("c", 4)], seed=1
    )
    logits = model.predict(images, verbose=0)
    for names, kept in (("c", ["c"]), (["b"], ["a", "b"]), (["c", "a"], ["a", "c"])):
        part = keras_memvit.select(model, names)
        assert [spec.name for spec in part.specs] == kept
        found = part.predict(images, verbose=0)
        assert_same(found, {name: logits[name] for name in kept})


def test_weights_of_the_backbone_are_shared_and_those_of_tasks_are_not(images):
    model = build({"a": 3})
    other = keras_memvit.concatenate([model, build({"b": 2}, model.backbone)])
    part = keras_memvit.select(other, ["b"])
    for derived in (other, part, keras_memvit.extend(model, {"c": 2})):
        assert all(
            any(weight is shared for shared in model.backbone.weights)
            for weight in derived.backbone.weights
        )
    before = model.predict(images, verbose=0)["a"]
    other.compile()
    other.fit(images, {"a": np.arange(8) % 3, "b": np.arange(8) % 2}, verbose=0)
    np.testing.assert_array_equal(model.predict(images, verbose=0)["a"], before)


def test_frozen_tasks_stay_frozen_through_a_file(images, tmp_path):
    more = keras_memvit.extend(build({"a": 3}), {"b": 2}, sees=["a"])
    more.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.trained_tasks == ["b"]
    assert_same(loaded.predict(images, verbose=0), more.predict(images, verbose=0))


def test_verify_unchanged_reports_each_output(images):
    """Zero after training beside the old tasks, and what changed where one did."""
    both = keras_memvit.concatenate([build({"a": 3}, seed=1), build({"b": 2}, seed=2)])
    more = keras_memvit.extend(both, {"c": 2}, sees=["a"])
    more.compile()
    more.fit(images, {"c": np.arange(8) % 2}, epochs=2, verbose=0)
    report = more.verify_unchanged(images, batch_size=3)
    assert list(report) == ["base", "a", "b"]
    assert max(report.values()) < 1e-5
    before = more.predict(images, verbose=0)["b"]
    bias = more.task_layers["b"].variables_by_name["head/bias"]
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.0, 0.5]))
    report = more.verify_unchanged(images)
    np.testing.assert_allclose(report["b"], 0.5, rtol=1e-4)
    assert max(report["base"], report["a"]) < 1e-5
    assert np.abs(more.predict(images, verbose=0)["b"] - before).max() > 0.4
    weight = more.backbone.weights[0]
    weight.assign(keras.ops.convert_to_numpy(weight) + 1.0)
    with pytest.raises(ValueError, match="backbone's weights have changed"):
        more.verify_unchanged(images)


def test_verify_unchanged_compares_the_base_classifier(images):
    """What the original's head said is there as "base", to be verified too."""
    model = MemoryViT(
        backbone := make_backbone(),
        [TaskSpec("a", 3)],
        classifier=make_classifier(backbone),
    )
    randomize(model.task_layers["a"])
    assert model.verify_unchanged(images)["base"] < 1e-5
    with pytest.raises(ValueError, match=r"`images` must be.*\(None, 32, 48, 3\)"):
        model.verify_unchanged(images[:, :16])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda a: keras_memvit.concatenate([]), "at least one model"),
        (lambda a: keras_memvit.concatenate([a, a]), "distinct task names.*'a' twice"),
        (
            lambda a: keras_memvit.concatenate(
                [a, build({"b": 2}, make_backbone(seed=9))]
            ),
            r"share one backbone: the model of the tasks \['b'\] belongs to another",
        ),
        (lambda a: keras_memvit.concatenate([a.backbone]), "must be a MemoryViT"),
        (
            lambda a: keras_memvit.extend(
                keras_memvit.build(make_backbone(), {"a": 2}, attention="unmasked"),
                {"b": 2},
            ),
            "must have masked attention",
        ),
        (lambda a: keras_memvit.extend(a, {"a": 2}), r"does not have yet.*\['a'\]"),
        (
            lambda a: keras_memvit.extend(a, {"b": 2}, sees=["z"]),
            "`sees` of task 'b'.*'z'",
        ),
        (lambda a: keras_memvit.select(a, ["z"]), r"tasks of the model: \['a'\].*'z'"),
        (lambda a: keras_memvit.select(a, []), r"tasks of the model.*\[\]"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(build({"a": 2}))
