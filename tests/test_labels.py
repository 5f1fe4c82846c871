"""Labels, their absence and their weights: what a step counts."""

import keras
import numpy as np
import pytest
from conftest import EAGER
from conftest import snapshot
from conftest import start_tasks
from test_joint_training import Batches
from test_metrics_and_losses import binary_crossentropy
from test_metrics_and_losses import logits_of

TASKS = {"a": 3, "b": 2}
LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}
NONE = np.full(8, -1)
PARTLY = np.array([[1, 1, 0], [0, 1, -1], [-1, -1, -1], [1, -1, 1]] * 2, "float32")
TENFOLD = dict.fromkeys(range(3), 10.0)


def crossentropies(model, images):
    logits = logits_of(model, images)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -log_p[np.arange(8), LABELS["a"]]


def still():
    return keras.optimizers.SGD(0.0)


def binary():
    return keras.losses.BinaryCrossentropy(from_logits=True)


# === What has no label ===


def test_the_loss_is_the_mean_over_labelled_examples(images):
    model = start_tasks(TASKS, still())
    losses = crossentropies(model, images)
    few = np.where(np.arange(8) < 2, LABELS["a"], -1)
    batches = [
        (images, LABELS),
        (images, {"a": NONE, "b": NONE}),
        (images, {"a": few, "b": NONE}),
    ]
    expected = np.concatenate([losses, losses[:2]]).mean()
    fitted = model.fit(Batches(batches), verbose=0).history
    evaluated = model.evaluate(Batches(batches), return_dict=True, verbose=0)
    for found in ({k: v[0] for k, v in fitted.items()}, evaluated):
        np.testing.assert_allclose(found["a_loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(
            found["loss"], found["a_loss"] + found["b_loss"], rtol=1e-6
        )


def test_columns_without_a_label_are_not_trained(images):
    """Of rows of yes and no; an example's loss is the mean over the others."""
    precision = keras.metrics.Precision(name="precision")
    metrics = ["accuracy", "mse", precision, "auc", "recall"]
    metrics += [keras.metrics.F1Score(threshold=0.5, average="macro")]
    metrics += [keras.metrics.Recall(class_id=2, name="third")]
    model = start_tasks({"a": 3}, still(), loss=binary(), metrics=metrics)
    logits, known = logits_of(model, images), PARTLY >= 0
    chances = 1 / (1 + np.exp(-logits))
    some = known.any(-1)

    def mean(values):
        own = np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1)
        return own[some].mean()

    expected = {
        "loss": mean(binary_crossentropy(PARTLY, logits)),
        "a_accuracy": mean((chances > 0.5) == (PARTLY > 0.5)),
        "a_mse": mean((chances - PARTLY) ** 2),
    }
    y, p = PARTLY[known], chances[known]
    for metric in ("Precision", "AUC", "Recall"):
        reference = getattr(keras.metrics, metric)()
        reference.update_state(y, p)
        expected[f"a_{metric.lower()}"] = float(reference.result())
    columns = [(PARTLY[known[:, i], i], chances[known[:, i], i]) for i in range(3)]
    hits = [(y * (p > 0.5)).sum() for y, p in columns]
    sizes = [(y.sum() + (p > 0.5).sum()) for y, p in columns]
    expected["a_f1_score"] = np.mean([2 * h / n for h, n in zip(hits, sizes)])
    expected["a_third"] = hits[2] / columns[2][0].sum()
    found = model.evaluate(images, PARTLY, batch_size=4, return_dict=True, verbose=0)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    weighted = model.fit(images, PARTLY, class_weight=TENFOLD, verbose=0).history
    np.testing.assert_allclose(weighted["loss"][0], 10 * expected["loss"], rtol=1e-4)


def test_what_stands_in_a_column_without_a_label_does_not_matter(images):
    """Not to the gradient: the third class' head stays where it is."""
    rows = np.where([True, True, False], PARTLY, -1)
    model = start_tasks({"a": 3}, keras.optimizers.SGD(0.5), loss=binary())
    before = snapshot(model.trainable_variables)
    model.fit(images, rows, epochs=2, verbose=0)
    kernel = model.task_layers["a"].variables_by_name["head/kernel"]
    moved = snapshot([kernel])[kernel.path] != before[kernel.path]
    assert moved[:, :2].all() and not moved[:, 2].any()


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "bool"])
def test_labels_of_every_type_are_the_same(kind, images):
    model = start_tasks({"b": 2}, run_eagerly=EAGER)
    expected = model.test_on_batch(images, LABELS["b"])
    found = model.test_on_batch(images, LABELS["b"].astype(kind))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# === Labels that cannot be ===


@pytest.mark.parametrize("validated", [False, True])
def test_a_label_out_of_range_in_a_later_batch_stops_training(validated, images):
    model = start_tasks({"a": 3})
    batches = Batches([(images, LABELS["a"]), (images, np.full(8, 7))])
    data = {"validation_data": (images, LABELS["a"])} if validated else {}
    with pytest.raises(ValueError, match="'a' must be integers from 0 to 2.*8 labels"):
        model.fit(batches, shuffle=False, verbose=0, **data)
    model.evaluate(images, LABELS["a"], verbose=0)  # says nothing of another run


ROWS = np.eye(3, dtype="float32")[LABELS["a"]]


@pytest.mark.parametrize(
    "loss, labels, message",
    [
        ("auto", np.full(8, 7), r"'a' must be integers from 0 to 2.*\[7\]"),
        ("binary_crossentropy", 2 * ROWS, r"values from 0 to 1, or -1.*\[2.0\]"),
        ("categorical_crossentropy", ROWS - 0.5, r"shares of at least 0.*\[-0.5\]"),
        ("categorical_crossentropy", np.where(ROWS > 0, 1, -1), r"shares.*\[-1\]"),
        ("mse", np.where(ROWS > 0, np.nan, 0), "finite values.*nan"),
    ],
)
def test_single_batches_refuse_labels_out_of_range(loss, labels, message, images):
    model = start_tasks({"a": 3}, loss=loss, run_eagerly=EAGER)
    before = snapshot(model.trainable_variables)
    for call in (model.train_on_batch, model.test_on_batch, model.fit):
        with pytest.raises(ValueError, match=message):
            call(images, labels)
    message = message.split(".*")[0] + ".* labels out of range"
    data = Batches([(images, labels.astype("float32"))])
    with pytest.raises(ValueError, match=message):  # found in the step itself
        model.evaluate(data, verbose=0)
    for path, value in snapshot(model.trainable_variables).items():
        np.testing.assert_array_equal(value, before[path])


def test_a_loss_of_a_whole_batch_needs_a_label_for_each_example(images):
    loss = lambda y, z: keras.ops.mean(keras.ops.abs(z))  # noqa: E731
    model = start_tasks({"a": 3}, loss=loss, run_eagerly=EAGER)
    model.fit(images, LABELS["a"], verbose=0)
    with pytest.raises(ValueError, match="`loss` of task 'a' must return a loss for e"):
        model.fit(images, np.where(LABELS["a"] > 0, LABELS["a"], -1), verbose=0)


# === Weights ===


def test_class_weights_are_those_of_the_call(images):
    model = start_tasks(TASKS, still())
    seen = []

    def train_on_batch(*_):
        seen.append(model.train_on_batch(images, LABELS, return_dict=True))

    history = model.fit(
        images,
        LABELS,
        class_weight={"a": TENFOLD},
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=train_on_batch)],
        verbose=0,
    ).history
    train_on_batch()
    for plain in seen:
        np.testing.assert_allclose(history["b_loss"], plain["b_loss"], rtol=1e-5)
        np.testing.assert_allclose(history["a_loss"], 10 * plain["a_loss"], rtol=1e-5)


def test_class_weights_of_one_batch_as_keras_has_them(images):
    model = start_tasks({"a": 3}, still(), run_eagerly=EAGER)
    plain, _ = model.train_on_batch(images, LABELS["a"])
    found, _ = model.train_on_batch(images, LABELS["a"], class_weight=TENFOLD)
    np.testing.assert_allclose(found, 10 * plain, rtol=1e-5)
    with pytest.raises(ValueError, match="`class_weight` of task 'a'.*classes 0 to 2"):
        model.train_on_batch(images, LABELS["a"], class_weight={3: 1.0})


# === Steps ===


def test_a_labelled_step_without_gradient_decays_all_the_same(images):
    """As in AdamW itself: 1 - rate * decay a step. Without a label, nothing."""
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    model = start_tasks(TASKS, optimizer)
    before = snapshot(model.trainable_variables)
    weights = {"a": np.zeros(8), "b": np.zeros(8)}
    labels = {"a": LABELS["a"], "b": NONE}
    model.fit(images, labels, sample_weight=weights, epochs=2, verbose=0)
    for path, value in snapshot(model.task_layers["a"].weights).items():
        np.testing.assert_allclose(value, 0.95**2 * before[path], rtol=1e-5, atol=1e-7)
    for path, value in snapshot(model.task_layers["b"].weights).items():
        np.testing.assert_array_equal(value, before[path])
    assert int(model.optimizer.inner["a"].iterations) == 2
    assert int(model.optimizer.inner["b"].iterations) == 0


# === Images that are scaled already ===

SCALES = {"to 1": lambda x: x / 255, "normalised": lambda x: (x / 255 - 0.5) / 0.25}


@pytest.mark.parametrize(
    "call, scale",
    [
        ("fit", "to 1"),
        ("batches", "normalised"),
        ("predict", "to 1"),
        ("predict batches", "to 1"),
        ("predict generator", "normalised"),
    ],
)
def test_scaled_images_are_spoken_of_once(scale, call, images):
    model = start_tasks({"a": 3}, run_eagerly=EAGER)
    images = SCALES[scale](images.astype("float32"))
    act = {
        "fit": lambda: model.fit(images, LABELS["a"], verbose=0),
        "batches": lambda: model.fit(Batches([(images, LABELS["a"])]), verbose=0),
        "predict": lambda: model.predict(images, verbose=0),
        "predict batches": lambda: model.predict(
            Batches([(images, LABELS["a"])]), verbose=0
        ),
        "predict generator": lambda: model.predict(
            (batch for batch in [(images,)]), steps=1, verbose=0
        ),
    }[call]
    with pytest.warns(UserWarning, match=r"Images must be in \[0, 255\]"):
        act()
    act()  # a warning would be an error


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_images_as_they_are_meant_are_not_spoken_of(kind, images):
    model = start_tasks({"a": 3}, run_eagerly=EAGER)
    images = images.astype(kind)
    images[:4] = 0  # a batch of black ones
    model.fit(images, LABELS["a"], batch_size=4, verbose=0)
    model.predict(images, batch_size=4, verbose=0)
    model.predict(Batches([(images, LABELS["a"])]), verbose=0)


def test_looking_at_the_first_batch_takes_none_away(images):
    model = start_tasks({"a": 3}, run_eagerly=EAGER)
    expected = model.predict(images, verbose=0)["a"]
    with pytest.warns(UserWarning, match=r"Images must be in \[0, 255\]"):
        model.predict(images / np.float32(255), verbose=0)
    for _ in range(2):
        batches = ((part,) for part in (images[:4], images[4:]))
        found = model.predict(batches, steps=2, verbose=0)["a"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_arguments_come_in_keras_order(images, capsys):
    model = start_tasks({"a": 3}, run_eagerly=EAGER)
    model.fit(images, LABELS["a"], 4, 1, 0)  # batch_size, epochs, verbose
    model.evaluate(images, LABELS["a"], 4, 0)
    model.predict(images, 4, 0)
    assert int(model.optimizer.iterations) == 2
    assert capsys.readouterr().out == ""
