"""Models that share a backbone, in callbacks and in threads beside each other."""

import inspect
import threading

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot
from processes import run_python

import keras_memvit

LABELS = np.arange(8) % 3


@pytest.fixture
def backbone():
    return make_backbone(num_layers=1)


def make(backbone, *names, rate=0.1):
    model = keras_memvit.build(backbone, {name: 3 for name in names})
    for name, task in model.task_layers.items():
        task.start(ord(name))
    model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.9))
    return model


def in_thread(function, *args, **kwargs):
    """Calls in a thread of its own; its result, or its error raised here."""
    done = []

    def call():
        try:
            done.append(function(*args, **kwargs))
        except Exception as error:
            done.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def result():
        thread.join(timeout=120)
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]

    result.running = thread.is_alive
    return result


def at(*moments, do):
    """A callback that knows nothing of the model, whatever `do` closes over."""
    return keras.callbacks.LambdaCallback(
        **{f"on_{moment}": lambda *args, **kwargs: do() for moment in moments}
    )


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=1e-5, err_msg=name)


def logits(model, images):
    return model.predict(images, verbose=0)


def test_predictions_beside_a_running_fit_are_right(backbone, images):
    model, sibling = make(backbone, "a", "b", rate=0.0), make(backbone, "c")
    right = {**logits(model, images), **logits(sibling, images)}
    for first in (model, make(backbone, "a", "b", rate=0.0)):  # traced or not yet
        fit = in_thread(first.fit, images, {"a": LABELS}, 2, 15, 0)  # "b" has no labels
        count = 0
        while fit.running() or not count:
            assert_same({**logits(first, images), **logits(sibling, images)}, right)
            count += 1
        assert len(fit().epoch) == 15


def test_another_thread_predicts_with_the_last_finished_step(backbone, images):
    model = make(backbone, "a")
    seen = [logits(model, images)["a"]]

    def compare():
        own = logits(model, images)
        assert_same(in_thread(logits, model, images)(), own)
        seen.append(own["a"])

    model.fit(images, LABELS, 4, 2, 0, [at("train_batch_end", do=compare)])
    for before, after in zip(seen, seen[1:]):
        assert np.abs(after - before).max() > 1e-4  # of this step, no earlier one


def test_many_threads_predict_with_one_model(backbone, images):
    model = make(backbone, "a")
    right = logits(make(backbone, "a"), images)
    for result in [in_thread(logits, model, images) for _ in range(6)]:
        assert_same(result(), right)


def test_everything_works_in_callbacks_and_changes_nothing(backbone, images, tmp_path):
    alone = make(backbone, "a", "b")
    labels = {"a": LABELS, "b": LABELS}
    alone.fit(images, labels, 4, 2, 0, shuffle=False)
    model, sibling = make(backbone, "a", "b"), make(backbone, "c")
    right, layer = logits(sibling, images), model.task_layers["a"]
    paths, values = [tmp_path / "a.safetensors", tmp_path / "model.keras"], []

    def everything():
        assert_same(logits(sibling, images), right)
        logits(model, images)
        model.evaluate(images, labels, verbose=0)
        keras_memvit.save_task(model, "a", paths[0])
        loaded = keras_memvit.load_task(sibling, paths[0])
        model.save(paths[1])
        saved = loaded.task_layers["a"].get_weights()
        for one, two in zip(saved, layer.get_weights()):
            np.testing.assert_array_equal(one, two)
        values.append(saved[0])

    moments = ("train_batch_begin", "train_batch_end", "epoch_begin", "epoch_end")
    callback = at(*moments, do=everything)
    model.fit(images, labels, 4, 2, 0, [callback], shuffle=False)
    assert len(values) == 2 * (2 + 2 * 2)
    assert len(np.unique(np.stack(values), axis=0)) == 5  # the start's, each step's
    for ours, theirs in zip(model.get_weights(), alone.get_weights()):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert_same(
        logits(keras.saving.load_model(paths[1]), images), logits(model, images)
    )


def test_siblings_train_in_turn_and_predict_in_each_others_callbacks(backbone, images):
    first = make(backbone, "a")
    second = keras_memvit.extend(first, {"b": 3}, sees=["a"])  # holds a frozen "a"
    second.compile(optimizer=keras.optimizers.SGD(0.1))
    frozen = snapshot([*second.backbone.weights, *second.task_layers["a"].weights])
    for model, other in ((first, second), (second, first), (first, second)):
        right = logits(other, images)
        check = at(
            "train_batch_end",
            "test_batch_end",
            do=lambda m=other, r=right: assert_same(logits(m, images), r),
        )
        y = LABELS
        history = model.fit(images, y, 4, 1, 0, [check], validation_data=(images, y))
        assert np.isfinite(history.history["val_loss"]).all()
    for path, value in snapshot(
        [*second.backbone.weights, *second.task_layers["a"].weights]
    ).items():
        np.testing.assert_array_equal(value, frozen[path])


def test_two_fits_in_two_threads_end_as_each_alone(backbone, images):
    def fit(model, *task):
        model.fit(images, dict.fromkeys(task, LABELS), 4, 5, 0, shuffle=False)
        return model.get_weights()

    # The second has a task without labels: no gradient, and no warning of that.
    cases = [(("a",), ("a",)), (("b", "c"), ("b",))]
    right = [fit(make(backbone, *tasks), *fitted) for tasks, fitted in cases]
    models = [make(backbone, *tasks) for tasks, _ in cases]
    fits = [in_thread(fit, m, *fitted) for m, (_, fitted) in zip(models, cases)]
    for result, expected in zip(fits, right):
        for ours, theirs in zip(result(), expected):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("after", [0, 1])
def test_a_failing_fit_in_a_thread_leaves_all_models_whole(backbone, images, after):
    model, sibling = make(backbone, "a"), make(backbone, "c")
    right, before = logits(sibling, images), snapshot(model.backbone.weights)

    def batches():
        for _ in range(after):
            yield images, LABELS
        yield images[:, :20], LABELS  # no image of this backbone

    with pytest.raises(Exception, match="shape|size|expected|Cannot|must"):
        in_thread(model.fit, batches(), verbose=0, steps_per_epoch=after + 1)()
    assert_same(logits(sibling, images), right)
    for path, value in snapshot(model.backbone.weights).items():
        np.testing.assert_array_equal(value, before[path])
    model.fit(images, LABELS, verbose=0)
    assert np.isfinite(logits(model, images)["a"]).all()


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_one_model_is_not_trained_in_two_threads(backbone, images, method):
    model, refused = make(backbone, "a"), []

    def train_too():
        with pytest.raises(RuntimeError, match=f"`{method}` was called while another"):
            in_thread(getattr(model, method), images, LABELS, verbose=0)()
        refused.append(method)

    model.fit(images, LABELS, verbose=0, callbacks=[at("epoch_end", do=train_too)])
    assert refused == [method]
    in_thread(getattr(model, method), images, LABELS, verbose=0)()


def test_weights_loaded_into_the_backbone_are_seen(backbone, images):
    model = make(backbone, "a", rate=0.0)
    model.fit(images, LABELS, verbose=0)
    model.evaluate(images, LABELS, verbose=0)
    before = logits(model, images)
    other = make_backbone(seed=5, num_layers=1)
    model.backbone.set_weights(other.get_weights())
    expected = make(other, "a")
    for name, task in expected.task_layers.items():
        task.set_weights(model.task_layers[name].get_weights())
    assert_same(logits(model, images), logits(expected, images))
    assert np.abs(logits(model, images)["a"] - before["a"]).max() > 1e-3
    loss = expected.evaluate(images, LABELS, verbose=0)
    np.testing.assert_allclose(model.evaluate(images, LABELS, verbose=0), loss, 1e-5)
    history = model.fit(images, LABELS, verbose=0).history
    np.testing.assert_allclose(history["loss"], loss[:1], 1e-5)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_loops_have_keras_signatures(method):
    names = [
        list(inspect.signature(getattr(cls, method)).parameters.items())
        for cls in (keras_memvit.MemoryViT, keras.Model)
    ]
    assert [str(p) for _, p in names[0]] == [str(p) for _, p in names[1]]
    assert "Args:" in getattr(keras_memvit.MemoryViT, method).__doc__


def test_arguments_by_position(backbone, images, capsys):
    model = make(backbone, "a")
    history = model.fit(images, LABELS, 8, 2, 0)
    assert history.epoch == [0, 1]
    by_name = model.evaluate(images, LABELS, verbose=0)
    assert model.evaluate(images, LABELS, 8, 0) == pytest.approx(by_name)
    assert logits(model, images)["a"].shape == model.predict(images, 4, 0)["a"].shape
    assert capsys.readouterr().out == ""


DATA_PARALLEL = """
import keras
import numpy as np
from conftest import make_backbone

import keras_memvit

def train():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 48, 3), dtype="uint8")
    model = keras_memvit.build(make_backbone(num_layers=1), {"a": 3})
    model.task_layers["a"].start(0)
    model = keras_memvit.extend(model, {"b": 3})
    model.task_layers["b"].start(1)
    model.compile(optimizer="adam")
    check = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: model.predict(images, verbose=0))
    labels = np.arange(8) % 3
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0, shuffle=False,
              callbacks=[check])
    loss = model.evaluate(images, labels, verbose=0)[0]
    devices = {len(v.value.devices()) for v in model.variables}
    return model.predict(images, verbose=0)["b"], loss, devices

one = train()
keras.distribution.set_distribution(keras.distribution.DataParallel())
two = train()
np.testing.assert_allclose(one[0], two[0], atol=1e-5)
np.testing.assert_allclose(one[1], two[1], atol=1e-5)
print(one[2], two[2])
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="keras.distribution")
def test_training_on_two_devices(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert run_python(DATA_PARALLEL, "jax").split("\n")[-2] == "{1} {2}"
