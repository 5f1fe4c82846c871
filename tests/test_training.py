"""`compile`, `fit`, `evaluate`, `predict`: data, labels, recipe, precision."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import snapshot

import keras_memvit
from keras_memvit.recipes import WarmupCosine
from keras_memvit.recipes import paper_optimizer

LABELS = np.arange(8) % 3


@pytest.fixture
def model(backbone):
    model = keras_memvit.build(backbone, {"a": 3})
    model.compile()
    return model


@pytest.fixture
def two_tasks(backbone):
    model = keras_memvit.build(backbone, {"a": 3, "b": 2})
    model.compile()
    return model


class Batches(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images) // 4

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return self.images[rows], {k: v[rows] for k, v in self.labels.items()}


def as_tf_data(images, labels):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)


def as_torch_loader(images, labels):
    import torch

    rows = [
        (torch.from_numpy(image), {k: int(v[i]) for k, v in labels.items()})
        for i, image in enumerate(images)
    ]
    return torch.utils.data.DataLoader(rows, batch_size=4)


SOURCES = {
    "tf.data": as_tf_data,
    "PyDataset": Batches,
    "torch DataLoader": as_torch_loader,
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_data_trains_like_arrays(source, images):
    labels = {"a": LABELS, "b": np.arange(8) % 2}
    results = []
    for data in ((images, labels), (SOURCES[source](images, labels),)):
        keras.utils.set_random_seed(0)
        model = keras_memvit.build(make_backbone(), {"a": 3, "b": 2})
        model.compile()
        history = model.fit(
            *data, batch_size=4 if len(data) == 2 else None, shuffle=False, verbose=0
        )
        size = {"batch_size": 4} if len(data) == 2 else {}
        evaluated = model.evaluate(*data, **size, return_dict=True, verbose=0)
        results.append({**{k: v[0] for k, v in history.history.items()}, **evaluated})
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-4)


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_images_of_every_type_give_the_same_logits(model, images, kind):
    np.testing.assert_allclose(
        model.predict(images.astype(kind), verbose=0)["a"],
        model.predict(images, verbose=0)["a"],
        atol=1e-6,
    )


def test_a_plain_array_serves_the_one_trained_task(model, images):
    plain = model.evaluate(images, LABELS, return_dict=True, verbose=0)
    by_name = model.evaluate(images, {"a": LABELS}, return_dict=True, verbose=0)
    column = model.evaluate(images, LABELS[:, None], return_dict=True, verbose=0)
    for name in plain:
        np.testing.assert_allclose(
            [by_name[name], column[name]], plain[name], rtol=1e-6
        )
    assert set(plain) == {"loss", "a_accuracy"}


def test_loss_and_accuracy_count_only_labelled_examples(two_tasks, images):
    a = np.array([0, -1, 2, 1, -1, -1, 0, 1])
    result = two_tasks.evaluate(images, {"a": a}, return_dict=True, verbose=0)
    logits = two_tasks.predict(images, verbose=0)["a"].astype("float64")
    rows = np.flatnonzero(a >= 0)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(result["loss"], -log_p[rows, a[rows]].mean(), rtol=1e-5)
    accuracy = (logits[rows].argmax(-1) == a[rows]).mean()
    np.testing.assert_allclose(result["a_accuracy"], accuracy, rtol=1e-6)


def test_unlabelled_examples_do_not_train(two_tasks, images):
    """-1 everywhere leaves the task untouched; so does a missing key."""
    before = snapshot(two_tasks.task_layers["b"].weights)
    moved = snapshot(two_tasks.task_layers["a"].weights)
    two_tasks.fit(images, {"a": LABELS, "b": np.full(8, -1)}, verbose=0)
    for path, value in snapshot(two_tasks.task_layers["b"].weights).items():
        np.testing.assert_array_equal(value, before[path])
    for path, value in snapshot(two_tasks.task_layers["a"].weights).items():
        assert not np.array_equal(value, moved[path])


def test_a_task_whose_key_is_missing_stays_as_it_is(two_tasks, images):
    before = snapshot(two_tasks.task_layers["b"].weights)
    two_tasks.fit(images, {"a": LABELS}, verbose=0)  # no warning either
    for path, value in snapshot(two_tasks.task_layers["b"].weights).items():
        np.testing.assert_array_equal(value, before[path])


def test_class_weight_and_sample_weight_scale_the_loss(model, images):
    keras.utils.set_random_seed(0)
    weights = np.array([1.0, 3.0, 0.5])
    logits = model.predict(images, verbose=0)["a"].astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -log_p[np.arange(8), LABELS]
    class_weight = {0: 1.0, 1: 3.0, 2: 0.5}
    by_class = model.fit(images, LABELS, class_weight={"a": class_weight}, verbose=0)
    np.testing.assert_allclose(
        by_class.history["loss"][0], (weights[LABELS] * losses).mean(), rtol=1e-5
    )
    sample_weight = np.linspace(0.1, 2.0, 8)
    logits = model.predict(images, verbose=0)["a"].astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -log_p[np.arange(8), LABELS]
    evaluated = model.evaluate(
        images, LABELS, sample_weight=sample_weight, return_dict=True, verbose=0
    )
    np.testing.assert_allclose(
        evaluated["loss"], (sample_weight * losses).mean(), rtol=1e-5
    )


def test_compile_without_arguments_is_the_papers_recipe(model, images):
    optimizer = model.optimizer.inner_optimizer
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert optimizer.momentum == 0.9
    assert optimizer.global_clipnorm == 1.0
    rates = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: rates.append(
            float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        )
    )
    if keras.backend.backend() == "jax":
        schedule = optimizer._learning_rate
        model.fit(images, LABELS, batch_size=1, epochs=5, verbose=0)
        rates = [float(schedule(step)) for step in range(40)]
    else:
        model.fit(images, LABELS, batch_size=1, epochs=5, verbose=0, callbacks=record)
    peak = 0.1
    warmup = [peak * (step + 1) / 5 for step in range(5)]
    cosine = [peak * (1 + np.cos(np.pi * step / 35)) / 2 for step in range(35)]
    np.testing.assert_allclose(rates, warmup + cosine, atol=1e-6)


def test_a_second_fit_starts_the_schedule_anew(model, images):
    model.fit(images, LABELS, batch_size=4, epochs=3, verbose=0)
    schedule = model.optimizer.inner_optimizer._learning_rate
    assert (schedule.start, schedule.total_steps) == (0, 6)
    model.fit(images, LABELS, batch_size=2, epochs=2, verbose=0)
    assert (schedule.start, schedule.total_steps) == (6, 8)
    model.fit(images, LABELS, batch_size=2, epochs=3, initial_epoch=2, verbose=0)
    assert (schedule.start, schedule.total_steps) == (6, 12)  # goes on


def test_any_keras_argument_overrides_the_recipe(two_tasks, images):
    two_tasks.compile(
        optimizer="adam",
        loss={
            "a": keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=0.1
            ),
            "b": "sparse_categorical_crossentropy",
        },
        loss_weights={"b": 2.0},
        metrics={
            "a": ["accuracy"],
            "b": [keras.metrics.SparseTopKCategoricalAccuracy(2)],
        },
        weighted_metrics=["accuracy"],
    )
    labels = {"a": np.eye(3, dtype="float32")[LABELS], "b": np.arange(8) % 2}
    logs = two_tasks.fit(images, labels, verbose=0).history
    assert isinstance(two_tasks.optimizer.inner_optimizer, keras.optimizers.Adam)
    assert logs["b_sparse_top_k_categorical_accuracy"] == [1.0]
    np.testing.assert_allclose(
        logs["loss"][0], logs["a_loss"][0] + 2.0 * logs["b_loss"][0], rtol=1e-5
    )


def test_training_learns(images):
    keras.utils.set_random_seed(0)
    model = keras_memvit.build(make_backbone(), {"a": 2})
    model.compile(optimizer=paper_optimizer(0.3))
    dark = np.arange(8) % 2
    images = (images * (0.5 + 0.5 * dark[:, None, None, None])).astype("uint8")
    history = model.fit(images, dark, epochs=40, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert history["a_accuracy"][-1] == 1.0


def test_mixed_bfloat16_keeps_task_variables_in_float32(backbone, images):
    full = keras_memvit.build(backbone, {"a": 3})
    half = keras_memvit.build(backbone, {"a": 3}, dtype="mixed_bfloat16")
    half.set_weights(full.get_weights())
    assert half.encoder.compute_dtype == "bfloat16"
    assert {v.dtype for v in half.trainable_variables} == {"float32"}
    frozen = snapshot(half.backbone.weights)
    half.compile()
    half.fit(images, LABELS, verbose=0)
    for path, value in snapshot(half.backbone.weights).items():
        np.testing.assert_array_equal(value, frozen[path])
    full.set_weights(half.get_weights())
    logits = half.predict(images, verbose=0)["a"]
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, full.predict(images, verbose=0)["a"], atol=0.05)


@pytest.mark.parametrize(
    "labels, message",
    [
        ({"a": np.full(8, 3)}, r"task 'a' must be integers from 0 to 2.*\[3\]"),
        ({"a": np.full(8, -2)}, r"task 'a'.*\[-2\]"),
        ({"a": np.full(8, 0.5)}, r"task 'a'.*\[0.5\]"),
        ({"a": np.full(8, np.nan)}, "task 'a'.*nan"),
        ({"a": np.array(["x"] * 8)}, "task 'a'.*dtype <U1"),
        ({"c": LABELS}, r"tasks \['a', 'b'\].*\['c'\]"),
        (LABELS, r"dict by task name.*\['a', 'b'\].*ndarray"),
        ({}, "`y` must hold labels of at least one task"),
    ],
)
def test_bad_labels_are_named(two_tasks, images, labels, message):
    before = two_tasks.predict(images, verbose=0)
    with pytest.raises(ValueError, match=message):
        two_tasks.fit(images, labels, verbose=0)
    with pytest.raises(ValueError, match=message):
        two_tasks.evaluate(images, labels, verbose=0)
    after = two_tasks.predict(images, verbose=0)  # the model is still whole
    np.testing.assert_array_equal(after["a"], before["a"])


def test_labels_out_of_range_in_a_data_set_stop_training(two_tasks, images):
    labels = {"a": np.full(8, 7), "b": np.zeros(8, int)}
    with pytest.raises(
        ValueError, match="task 'a' must be integers from 0 to 2.*4 labels"
    ):
        two_tasks.fit(Batches(images, labels), verbose=0)
    with pytest.raises(
        ValueError, match="task 'a' must be integers from 0 to 2.*8 labels"
    ):
        two_tasks.evaluate(Batches(images, labels), verbose=0)
    two_tasks.predict(images, verbose=0)  # the model is still whole


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda m, x: m.compile(loss={"c": "mse"}), r"`loss`.*\['a', 'b'\].*\['c'\]"),
        (lambda m, x: m.compile(metrics={"c": ["accuracy"]}), r"`metrics`.*\['c'\]"),
        (
            lambda m, x: m.fit(x, {"a": LABELS}, class_weight={0: 2.0}),
            "`class_weight` must be a dict by task name",
        ),
        (
            lambda m, x: m.fit(x, {"a": LABELS}, class_weight={"a": {3: 2.0}}),
            "`class_weight` of task 'a'.*classes 0 to 2",
        ),
        (lambda m, x: WarmupCosine(0.0), "learning_rate=0.0"),
        (lambda m, x: WarmupCosine(0.1, warmup_steps=-1), "warmup_steps=-1"),
    ],
)
def test_bad_training_arguments_are_named(two_tasks, images, act, message):
    with pytest.raises(ValueError, match=message):
        act(two_tasks, images)


def test_images_come_alone_in_a_list_or_by_name(model, images):
    expected = model.predict(images, verbose=0)["a"]
    for given in ([images], {"images": images}):
        np.testing.assert_array_equal(model.predict(given, verbose=0)["a"], expected)
        model.fit(given, LABELS, verbose=0)
        expected = model.predict(images, verbose=0)["a"]


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_images_of_another_shape_are_refused(model, images, kind):
    for wrong in (images[0], images[:, :16], images[None]):
        with pytest.raises(ValueError, match=r"\(None, 32, 48, 3\)"):
            model.train_on_batch(wrong.astype(kind), LABELS[: len(wrong)])


def test_fit_before_compile_says_what_to_do(backbone, images):
    model = keras_memvit.build(backbone, {"a": 3})
    with pytest.raises(ValueError, match=r"Call `compile\(\)` before"):
        model.fit(images, LABELS)
