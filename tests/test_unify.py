"""One answer over the classes of all tasks; what tasks answer stays."""

import json

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from processes import run_python

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.unified.gates import gates_of
from keras_memvit.models.unified.gates import num_gates
from keras_memvit.serving.build import _in_float32

SIZES = {"a": 2, "b": 3, "c": 2}
METHODS = ("ridge", "max", "gates", "task_posterior")
OPTIONS = {"num_random_features": 32}


def pictures(count, seed):
    """Images of each task: a pattern a class, and noise."""
    patterns = np.random.default_rng(0).uniform(40, 215, (sum(SIZES.values()), 32, 48))
    rng, data, start = np.random.default_rng(seed), {}, 0
    for name, size in SIZES.items():
        labels = np.arange(count) % size
        images = patterns[start + labels][..., None] + rng.normal(
            0, 25, (len(labels), 32, 48, 3)
        )
        data[name] = (np.clip(images, 0, 255).astype("uint8"), labels)
        start += size
    return data


# One size of batch: JAX compiles each anew.
TRAIN, TEST = pictures(32, 1), pictures(16, 2)


@pytest.fixture(scope="module")
def model():
    """Three tasks whose heads are fitted in closed form on their class tokens."""
    specs = [
        TaskSpec("a", 2, 2, class_names=["sun", "moon"]),
        TaskSpec("b", 3, 2, sees=["a"]),
        TaskSpec("c", 2, 2),
    ]
    backbone = make_backbone("registers")
    model = randomize(keras_memvit.build(backbone, specs), 3)
    for name, (images, labels) in TRAIN.items():
        layer, size = model.task_layers[name], SIZES[name]
        probe = keras_memvit.build(
            backbone, [TaskSpec("features", 32, 2, readout="class_token")]
        )
        own = probe.task_layers["features"]
        tokens = {k: layer.arrays()[k] for k in ("class_token", "memory")}
        head = {"head/kernel": np.eye(32), "head/bias": np.zeros(32)}
        own.assign_arrays({**tokens, **head})
        f = keras.ops.convert_to_numpy(probe(images, training=False)["features"])
        f = np.concatenate([f, np.ones((len(f), 1))], axis=1)
        gram = f.T @ f + 0.1 * np.eye(33)
        kernel = 8 * np.linalg.solve(gram, f.T @ (np.eye(size)[labels] - 1 / size))
        arrays = {"head/kernel": kernel[:-1], "head/bias": kernel[-1]}
        layer.assign_arrays({**layer.arrays(), **arrays})
    return model


@pytest.fixture(scope="module")
def plain(model):
    return predict(model)


def predict(model):
    images = np.concatenate([x for x, _ in TEST.values()])
    return model.predict(images, batch_size=16, verbose=0)


def truth():
    starts = np.cumsum([0, *SIZES.values()])
    return np.concatenate([y + s for (_, y), s in zip(TEST.values(), starts)])


@pytest.fixture(scope="module")
def ridge(model):
    return keras_memvit.unify(model, TRAIN, **OPTIONS)


@pytest.fixture(scope="module")
def gates(model):
    return keras_memvit.unify(model, TRAIN, method="gates", unknown=False)


@pytest.fixture(scope="module")
def others(model):
    methods = ("max", "task_posterior")
    return {m: keras_memvit.unify(model, TRAIN, method=m) for m in methods}


@pytest.mark.parametrize("method", METHODS)
def test_it_knows_the_class_without_the_task_and_the_tasks_answer_as_before(
    method, plain, ridge, gates, others
):
    unified = {"ridge": ridge, "gates": gates, **others}[method]
    found = predict(unified)
    for name, logits in plain.items():
        np.testing.assert_array_equal(found[name], logits)
    assert found["all"].shape == (len(truth()), 7)
    accuracy = np.mean(found["all"].argmax(-1) == truth())
    assert accuracy > (0.7 if method == "max" else 0.9), accuracy
    assert ("unknown" in found) == (method != "gates")


@pytest.mark.backend_free
def test_columns_have_names_and_nothing_changed(ridge):
    assert ridge.classes == [
        *[("a", "sun"), ("a", "moon")],
        *[("b", "0"), ("b", "1"), ("b", "2")],
        *[("c", "0"), ("c", "1")],
    ]
    differences = ridge.verify_unchanged(TEST["a"][0])
    assert differences.pop("base") == 0.0 and set(differences) == set(SIZES)
    assert max(differences.values()) < 1e-5


@pytest.mark.backend_free
def test_the_order_of_tasks_does_not_matter(ridge, model):
    other = keras_memvit.unify(model, TRAIN, tasks=["c", "a", "b"], **OPTIONS)
    found, expected = predict(other), predict(ridge)
    columns = [ridge.classes.index(c) for c in other.classes]
    np.testing.assert_allclose(found["all"], expected["all"][:, columns], atol=1e-3)
    np.testing.assert_allclose(found["unknown"], expected["unknown"], atol=1e-2)


@pytest.mark.backend_free
def test_a_task_taken_out_was_never_there(ridge, model):
    fewer = keras_memvit.unify(ridge, tasks=["a", "c"], **OPTIONS)
    data = {name: TRAIN[name] for name in ("a", "c")}
    never = keras_memvit.unify(keras_memvit.select(model, ["a", "c"]), data, **OPTIONS)
    for name, array in never.answer.arrays().items():
        np.testing.assert_array_equal(fewer.answer.arrays()[name], array)
    again = keras_memvit.unify(fewer, {"b": TRAIN["b"]}, **OPTIONS)
    for name, array in ridge.answer.arrays().items():
        np.testing.assert_array_equal(again.answer.arrays()[name], array)


def answer(unified, features, logits, **changes):
    """The layer's `"all"` with some of its weights changed."""
    arrays = {**unified.answer.arrays(), **changes}
    w = {k: keras.ops.convert_to_tensor(v, "float32") for k, v in arrays.items()}
    f = keras.ops.convert_to_tensor(features, "float32")
    found = unified.answer.answers(w, f, logits)["all"]
    return keras.ops.convert_to_numpy(found)


def test_open_gates_are_the_tasks_logits_and_closed_ones_only_lower_them(gates):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, gates.answer.width))
    logits = {n: rng.normal(0, 3, (4, k)).astype("float32") for n, k in SIZES.items()}
    together = np.concatenate(list(logits.values()), axis=1)
    kernel = np.zeros((gates.answer.width, num_gates(3)))
    opened = answer(
        gates, features, logits, gate_kernel=kernel, gate_bias=np.full(5, 1e9)
    )
    np.testing.assert_array_equal(opened, together)
    bias = np.full(5, 1e9)
    bias[gates_of(0, 3)[1]] = -2.0  # the third task's gate on the first
    closed = answer(gates, features, logits, gate_kernel=kernel, gate_bias=bias)
    lower = np.repeat([np.log(1 / (1 + np.exp(2.0))), 0, 0], list(SIZES.values()))
    np.testing.assert_allclose(closed, together + lower, atol=1e-5)
    assert (together[:, :2] < 0).any()  # these too: a product would raise them


@pytest.mark.backend_free
def test_gates_of_former_tasks_stay_as_a_task_is_added(gates, model):
    data = {name: TRAIN[name] for name in ("a", "b")}
    two = keras_memvit.unify(
        model, data, tasks=["a", "b"], method="gates", unknown=False
    )
    for name, array in two.answer.arrays().items():
        kept = gates.answer.arrays()[name][..., : num_gates(2)]
        np.testing.assert_array_equal(kept, array)
    assert np.abs(gates.answer.arrays()["gate_kernel"]).max() > 0
    assert gates.answer.count_params() == (num_gates(3)) * (64 + 1)


@pytest.mark.backend_free
def test_offsets_give_each_task_its_share(others, model):
    """The likeliest offsets: on the held-out images tasks get what is theirs."""
    arrays = others["max"].answer.arrays()
    held = [e.held for e in others["max"].evidence.values()]
    parts = [
        np.concatenate([own[name] for _, _, own in held]) / arrays["temperature"][k]
        + arrays["offset"][k]
        for k, name in enumerate(SIZES)
    ]
    p = np.concatenate(parts, axis=1)
    p = np.exp(p - p.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    tasks = np.repeat(np.arange(3), list(SIZES.values()))
    shares = [p[:, tasks == k].sum(1).mean() for k in range(3)]
    counts = np.array([len(labels) for _, labels, _ in held])
    np.testing.assert_allclose(shares, counts / counts.sum(), atol=1e-3)


def test_what_belongs_to_no_task_scores_above_the_threshold(model, ridge):
    known = np.concatenate([x for x, _ in TEST.values()])
    noise = np.random.default_rng(3).integers(0, 256, known.shape, dtype="uint8")
    inside = ridge.predict(known, batch_size=16, verbose=0)["unknown"]
    outside = ridge.predict(noise, batch_size=16, verbose=0)["unknown"]
    assert np.mean(inside[:, 1] > 0) < 0.3 and np.mean(outside[:, 1] > 0) > 0.8
    assert np.median(outside[:, 0]) > np.median(inside[:, 0])
    by_test = keras_memvit.unify(model, TRAIN, validation_data=TEST, **OPTIONS)
    share = np.mean(
        by_test.predict(known, batch_size=16, verbose=0)["unknown"] > 0, axis=0
    )
    np.testing.assert_allclose(share, 0.05, atol=1 / len(known))


def test_stores_and_batches_are_as_good_as_arrays(model, ridge, tmp_path):
    data = dict(TRAIN)
    images, labels = TRAIN["a"]
    store = keras_memvit.precompute(
        model, (images, {"a": labels}), tmp_path, dtype="float32", verbose=0
    )
    data["a"] = store
    images, labels = TRAIN["b"]
    unlabelled = (images[:3], np.full(3, -1))
    data["b"] = iter(
        [(images[:20], labels[:20]), unlabelled, (images[20:], labels[20:])]
    )
    other = keras_memvit.unify(model, data, **OPTIONS)
    for name, array in ridge.answer.arrays().items():
        scale = 1 + np.abs(array).max()
        if name != "whitening":  # whose columns may have another sign
            found = other.answer.arrays()[name]
            np.testing.assert_allclose(np.abs(found), np.abs(array), atol=2e-2 * scale)
    found, expected = (
        m.predict(store, batch_size=16, verbose=0)["all"] for m in (other, ridge)
    )
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert (found.argmax(-1) == TRAIN["a"][1]).all()


def test_it_saves_and_loads(ridge, tmp_path):
    ridge.save(tmp_path / "one.keras")
    expected = predict(ridge)
    loaded = keras_memvit.load_model(tmp_path / "one.keras")
    assert loaded.classes == ridge.classes
    for name, value in predict(loaded).items():
        np.testing.assert_array_equal(value, expected[name])


def test_half_precision_stays_near_and_is_served_in_single(model):
    mixed = keras_memvit.build(
        model.backbone.replicate(dtype="mixed_bfloat16"), model.specs
    )
    for name, layer in mixed.task_layers.items():
        layer.set_weights(model.task_layers[name].get_weights())
    one = keras_memvit.unify(mixed, TRAIN, **OPTIONS)
    images = keras.ops.convert_to_tensor(np.concatenate([x for x, _ in TEST.values()]))
    found = {
        name: keras.ops.convert_to_numpy(m(images, training=False)["all"])
        for name, m in (("half", one), ("single", _in_float32(one)))
    }
    for logits in found.values():
        assert np.mean(logits.argmax(-1) == truth()) > 0.9
    scale = 1 + np.abs(found["single"]).max()
    np.testing.assert_allclose(found["half"], found["single"], atol=0.1 * scale)


@pytest.mark.backend_free
def test_it_is_not_trained(ridge):
    with pytest.raises(ValueError, match="cannot be compiled"):
        ridge.compile()
    assert not ridge.trainable_variables


@pytest.mark.backend_free
def test_wrong_arguments_are_named(model, ridge):
    images, labels = TRAIN["a"]
    cases = [
        ({"data": {"a": TRAIN["a"]}}, "`data` must hold .* Missing: \\['b', 'c'\\]"),
        ({"data": {"x": TRAIN["a"]}}, "`data` must hold tasks among"),
        ({"tasks": ["x"]}, "`tasks` must be distinct tasks"),
        ({"tasks": []}, "`tasks` must be distinct tasks"),
        ({"method": "sum"}, "`method` must be one of"),
        ({"num_random_features": 0}, "`num_random_features` must be"),
        (
            {"data": {"a": (images, labels + 1)}, "tasks": "a"},
            "must be from 0 to 1",
        ),
        ({"data": {"a": (images, labels * 0)}, "tasks": "a"}, "None of the classes"),
        ({"data": {"a": (images, {"b": labels})}, "tasks": "a"}, "labels of \\['b'\\]"),
        ({"data": {"a": (images, labels[1:])}, "tasks": "a"}, "one label an image"),
        ({"data": {"a": (images, labels * 0 - 1)}, "tasks": "a"}, "no image has a"),
        ({"data": {"a": [images]}, "tasks": "a"}, "no labels"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            keras_memvit.unify(model, **arguments)
    with pytest.raises(ValueError, match="Missing: \\['a', 'b', 'c'\\]"):
        keras_memvit.unify(ridge, num_random_features=16)  # another projection
    taken = keras_memvit.build(model.backbone, {"all": 2})
    with pytest.raises(ValueError, match="no tasks named"):
        keras_memvit.unify(taken, {"all": TRAIN["a"]})


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the artefact is TensorFlow's; test_readouts.py serves from every backend",
)
def test_it_is_served_as_a_signature_of_its_own(ridge, tmp_path):
    """Both exports compare each output with the model's, and fail otherwise."""
    path = keras_memvit.export_saved_model(ridge, tmp_path / "one/1", warmup=False)
    card = json.loads((path / "assets.extra/keras_memvit.json").read_text())
    assert set(card["largest_difference"]) == {"a", "b", "c", "all"}
    names = (path / "assets/all.txt").read_text().split()
    assert names == ["a/sun", "a/moon", "b/0", "b/1", "b/2", "c/0", "c/1"]
    keras_memvit.export_onnx(ridge, tmp_path / "one.onnx")
    images = np.concatenate([x for x, _ in TEST.values()]).astype("float32")
    expected = ridge.predict(images, verbose=0)
    np.savez(tmp_path / "images.npz", images=images)
    code = """
import sys
import numpy as np
import onnxruntime
import tensorflow as tf

images = np.load(sys.argv[1])["images"]
served = tf.saved_model.load(sys.argv[2]).signatures["all"](images=tf.constant(images))
session = onnxruntime.InferenceSession(sys.argv[3])
names = [output.name for output in session.get_outputs()]
onnx = dict(zip(names, session.run(names, {"images": images})))
served = {key.replace("/", ":"): v.numpy() for key, v in served.items()}
served["all:classes"] = served["all:classes"].astype("S")
np.savez(sys.argv[4], **served,
         unknown=onnx["unknown/scores"], everything=onnx["all/logits"])
"""
    paths = [tmp_path / "images.npz", path, tmp_path / "one.onnx", tmp_path / "out.npz"]
    run_python(code, "tensorflow", *paths)
    found = np.load(paths[-1])
    for name in ("all:logits", "everything"):
        np.testing.assert_allclose(found[name], expected["all"], atol=1e-3)
    for name in ("unknown:scores", "unknown"):
        np.testing.assert_allclose(found[name], expected["unknown"], atol=1e-2)
    best = [names[k].encode() for k in expected["all"].argmax(-1)]
    assert found["all:classes"][:, 0].tolist() == best
