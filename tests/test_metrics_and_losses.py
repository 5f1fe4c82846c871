"""Metrics and losses by task: Keras' values, on what each of them expects."""

import keras
import numpy as np
import pytest
from conftest import EAGER
from conftest import start_tasks

import keras_memvit

TASKS = {"a": 3, "b": 2}
LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}
ROWS = np.eye(3, dtype="float32")[LABELS["a"]]
SOME = np.array([0, 1, 2, -1, 1, -1, 0, 2])  # of the task "a", not of every example
MULTI_HOT = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1]] * 2, "float32")


def logits_of(model, images):
    return model.predict(images, verbose=0)["a"].astype("float64")


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def binary_crossentropy(y, logits):
    """By element."""
    return np.maximum(logits, 0) - logits * y + np.log1p(np.exp(-abs(logits)))


# === Metrics ===


@pytest.mark.parametrize("tasks", [{"a": 3}, TASKS], ids=["one task", "two"])
def test_reported_are_the_metrics_asked_for_under_the_same_names(tasks, images):
    given = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model = start_tasks(
        tasks, metrics=[given, "ce"], run_eagerly=EAGER and len(tasks) < 2
    )
    labels = {name: LABELS[name] for name in tasks}
    seen = {}
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.update(logs)
    )
    data = {"validation_data": (images, labels), "callbacks": [record]}
    history = model.fit(images, labels, verbose=0, **data).history
    expected = {"loss"}
    for name in tasks:
        expected |= {f"{name}_accuracy", f"{name}_ce"}
        expected |= {f"{name}_loss"} if len(tasks) > 1 else set()
    assert set(model.metrics_names) == expected
    assert set(history) == set(seen) == expected | {f"val_{k}" for k in expected}
    values = model.evaluate(images, labels, verbose=0)
    by_name = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert dict(zip(model.metrics_names, values, strict=True)) == by_name
    assert given.name == "accuracy" and not float(given.result())  # the caller's


METRICS = {
    "auc": lambda: keras.metrics.AUC(),
    "auc_by_class": lambda: keras.metrics.AUC(multi_label=True, num_labels=3),
    "f1": lambda: keras.metrics.F1Score(),
    "precision": lambda: keras.metrics.Precision(class_id=1),
    "recall": lambda: keras.metrics.Recall(thresholds=0.3),
    "r2": lambda: keras.metrics.R2Score(),
    "crossentropy": lambda: keras.metrics.CategoricalCrossentropy(),
    "divergence": lambda: keras.metrics.KLDivergence(),
    "brier": lambda: keras.metrics.MeanSquaredError(),
}


@pytest.mark.parametrize("rows", [False, True])
def test_metrics_of_probabilities_are_keras_own(rows, images):
    metrics = {name: make() for name, make in METRICS.items()}
    for name, metric in metrics.items():
        metric.name = name
    loss = "categorical_crossentropy" if rows else "auto"
    model = start_tasks({"a": 3}, metrics=list(metrics.values()), loss=loss)
    labels = np.where(SOME[:, None] < 0, -1, ROWS[SOME]) if rows else SOME
    found = model.evaluate(images, labels, batch_size=4, return_dict=True, verbose=0)
    known = SOME >= 0
    predictions = softmax(logits_of(model, images))[known]
    for name, reference in metrics.items():
        reference.update_state(ROWS[SOME][known], predictions)
        expected = keras.ops.convert_to_numpy(reference.result())
        np.testing.assert_allclose(
            found[f"a_{name}"], expected, rtol=1e-4, err_msg=name
        )


def test_crossentropies_by_name_are_the_loss(images):
    names = ["categorical_crossentropy", "sparse_categorical_crossentropy", "ce"]
    model = start_tasks({"a": 3}, metrics=names)
    loss, *metrics = model.evaluate(images, LABELS["a"], verbose=0)
    np.testing.assert_allclose(metrics, [loss] * 3, rtol=1e-6)
    assert model.metrics_names == ["loss", *(f"a_{name}" for name in names)]


def test_metrics_of_yes_and_no_get_sigmoids(images):
    metrics = ["accuracy", "AUC", keras.metrics.F1Score(threshold=0.5, average="micro")]
    model = start_tasks({"a": 3}, loss="binary_crossentropy", metrics=metrics)
    found = model.evaluate(images, MULTI_HOT, return_dict=True, verbose=0)
    chances = sigmoid(logits_of(model, images))
    accuracy = ((chances > 0.5) == (MULTI_HOT > 0.5)).mean()
    np.testing.assert_allclose(found["a_accuracy"], accuracy, rtol=1e-6)
    for metric, name in ((keras.metrics.AUC(), "AUC"), (metrics[2], "f1_score")):
        metric.update_state(MULTI_HOT, chances)
        np.testing.assert_allclose(found[f"a_{name}"], metric.result(), rtol=1e-5)


def test_functions_get_labels_as_given_and_logits(images):
    ops = keras.ops
    spread = lambda y, z: ops.max(z, -1) - ops.min(z, -1)  # noqa: E731
    model = start_tasks({"a": 3}, metrics=[spread])
    _, found = model.evaluate(images, LABELS["a"], verbose=0)
    np.testing.assert_allclose(found, np.ptp(logits_of(model, images), -1).mean(), 1e-5)


def test_weighted_metrics_stand_beside_plain_ones(images):
    model = start_tasks({"a": 3}, metrics=["accuracy"], weighted_metrics=["accuracy"])
    right = logits_of(model, images).argmax(-1) == LABELS["a"]
    weight = np.linspace(0.1, 2.0, 8)
    found = model.evaluate(
        images, LABELS["a"], sample_weight=weight, return_dict=True, verbose=0
    )
    np.testing.assert_allclose(found["a_accuracy"], right.mean(), rtol=1e-5)
    expected = (weight * right).sum() / weight.sum()
    np.testing.assert_allclose(found["a_weighted_accuracy"], expected, rtol=1e-5)


# === Losses ===

LOSSES = {
    "categorical_crossentropy": lambda y, z: -(y * np.log(softmax(z))).sum(-1),
    "binary_crossentropy": lambda y, z: binary_crossentropy(y, z).mean(-1),
    "bce": lambda y, z: binary_crossentropy(y, z).mean(-1),
    "mse": lambda y, z: ((y - z) ** 2).mean(-1),
    "crossentropy": lambda y, z: -(y * np.log(softmax(z))).sum(-1),
    "a lambda": lambda y, z: abs(y - z).mean(-1),
    "of a batch": lambda y, z: np.full(8, abs(y - z).mean()),
    "a function": lambda y, z: binary_crossentropy(y, z).mean(-1),
    "smoothed": lambda y, z: -((0.9 * y + 0.1 / 3) * np.log(softmax(z))).sum(-1),
}
GIVEN = {
    "a lambda": lambda y, z: keras.ops.mean(keras.ops.abs(y - z), axis=-1),
    "of a batch": lambda y, z: keras.ops.mean(keras.ops.abs(y - z)),
    "a function": keras.losses.binary_crossentropy,
    "smoothed": keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_on_logits(name, images):
    loss = GIVEN.get(name, name)
    eager = name != "a lambda"  # which would not do in TensorFlow's graphs
    model = start_tasks({"a": 3}, loss=loss, metrics=None, run_eagerly=eager and EAGER)
    multi_hot = name in ("binary_crossentropy", "bce", "a function")
    rows = MULTI_HOT if multi_hot else ROWS
    losses = LOSSES[name](rows, logits_of(model, images))
    weight = np.linspace(0.1, 2.0, 8)
    found = model.evaluate(images, rows, sample_weight=weight, verbose=0)
    np.testing.assert_allclose(found, (weight * losses).mean(), rtol=1e-4)
    first = model.fit(images, rows, verbose=0).history["loss"][0]
    np.testing.assert_allclose(first, losses.mean(), rtol=1e-4)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_reductions_are_keras_own(reduction, images):
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction
    )
    model = start_tasks({"a": 3}, loss=loss, metrics=None, run_eagerly=EAGER)
    logits, known = logits_of(model, images), SOME >= 0
    weight = np.linspace(0.1, 2.0, 8)
    found = model.evaluate(images, SOME, sample_weight=weight, verbose=0)
    expected = loss(SOME[known], logits[known], sample_weight=weight[known])
    np.testing.assert_allclose(found, float(expected), rtol=1e-5)


def test_one_class_is_learned_as_yes_or_no(images):
    labels = np.array([0, 1, 1, -1, 0, 1, 0, 1])
    known = labels >= 0
    model = start_tasks({"a": 1}, loss="binary_crossentropy", run_eagerly=EAGER)
    logits = logits_of(model, images)[:, 0]
    loss, accuracy = model.evaluate(images, labels, verbose=0)
    losses = binary_crossentropy(labels, logits)[known]
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    right = ((logits > 0) == labels)[known]
    np.testing.assert_allclose(accuracy, right.mean(), rtol=1e-5)
    weighted = {0: 1.0, 1: 3.0}
    history = model.fit(images, labels, class_weight=weighted, verbose=0).history
    weight = np.where(labels == 1, 3, 1)[known]
    np.testing.assert_allclose(history["loss"][0], (weight * losses).mean(), rtol=1e-5)


def test_lists_are_in_the_order_of_the_tasks(images):
    model = start_tasks(
        TASKS,
        loss=["sparse_categorical_crossentropy"] * 2,
        loss_weights=[1, 0.2],
        metrics=[["accuracy"], [keras.metrics.SparseTopKCategoricalAccuracy(2)]],
    )
    found = model.evaluate(images, LABELS, return_dict=True, verbose=0)
    expected = {"a_accuracy", "b_sparse_top_k_categorical_accuracy"}
    assert set(found) == {"loss", "a_loss", "b_loss"} | expected
    np.testing.assert_allclose(
        found["loss"], found["a_loss"] + 0.2 * found["b_loss"], rtol=1e-6
    )


class Unclear(keras.metrics.Metric):
    def __init__(self, power, name="unclear"):
        super().__init__(name=name)


crossentropy = keras.losses.SparseCategoricalCrossentropy


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"loss": crossentropy()}, r"task 'a'.*Crossentropy\(from_logits=True\)"),
        ({"loss": "kld"}, "task 'a'.*KLDivergence, which expects probabilities"),
        ({"loss": crossentropy(from_logits=True, reduction=None)}, "reduction=None"),
        ({"loss": ["mse"]}, r"`loss`.*\['a', 'b'\].*1 entries"),
        ({"loss_weights": [1, 2, 3]}, "`loss_weights`.*3 entries"),
        ({"metrics": [["accuracy"]]}, "`metrics`.*1 entries"),
        ({"metrics": ["accuracy", "accuracy"]}, "distinct names.*a_accuracy"),
        ({"metrics": [Unclear(2)]}, r"Unclear must have a `get_config`.*\['power'\]"),
    ],
)
def test_what_would_train_or_report_something_else_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        start_tasks(TASKS, **arguments)


def test_a_task_that_can_learn_nothing_is_refused():
    with pytest.raises(ValueError, match="num_classes=1.*nothing is learned"):
        start_tasks({"a": 1})


def test_labels_of_another_form_than_the_loss_takes_are_refused(images):
    with pytest.raises(ValueError, match="'a' must be class indices.*categorical_cro"):
        start_tasks({"a": 3}, run_eagerly=EAGER).fit(images, ROWS, verbose=0)
    model = start_tasks({"a": 3}, loss="mse", run_eagerly=EAGER)
    with pytest.raises(ValueError, match=r"class indices \(B,\) or rows \(B, 3\)"):
        model.fit(images, ROWS[:, :2], verbose=0)


def test_what_a_task_sees_is_a_list():
    with pytest.raises(ValueError, match=r"as \['faces'\]. Received: sees='faces'"):
        keras_memvit.extend(start_tasks({"a": 3}), {"b": 2}, sees="faces")
