"""Multi-label tasks and regressions: losses, metrics, labels, files, exports."""

import keras
import numpy as np
import onnxruntime
import pytest
from conftest import EAGER
from conftest import make_backbone
from test_mean_average_precision import average_precision
from test_metrics_and_losses import binary_crossentropy
from test_metrics_and_losses import sigmoid

import keras_memvit
from keras_memvit import TaskSpec

NUM = 48
NAN = float("nan")


def pictures(seed=0):
    """Noise in which each channel is bright or not, `(NUM, 32, 48, 3)`."""
    rng = np.random.default_rng(seed)
    bright = rng.integers(0, 2, (NUM, 3))
    images = rng.integers(0, 100, (NUM, 32, 48, 3)) + 120 * bright[:, None, None]
    return images.astype("uint8"), bright


def years(bright):
    """A number of a large mean, and one of a small scale."""
    values = np.stack([2000 + 10.0 * bright.sum(1), 0.01 * bright[:, 0]], axis=1)
    values[0], values[1, 1] = NAN, NAN
    return values


def some_unknown(bright):
    rows = bright.astype("int8")
    rows[0], rows[1, 2] = -1, -1
    return rows


def endless(batch):
    while True:
        yield batch


SPECS = [
    TaskSpec("kind", 2),
    TaskSpec("colours", 3, kind="multi_label", class_names=["r", "g", "b"]),
    TaskSpec("years", 2, 1, kind="regression"),
]


@pytest.fixture(scope="module")
def trained():
    """A model of all three kinds, and its labels."""
    images, bright = pictures()
    labels = {
        "kind": bright[:, 0],
        "colours": some_unknown(bright),
        "years": years(bright),
    }
    keras.utils.set_random_seed(0)
    model = keras_memvit.build(make_backbone(num_layers=1), SPECS)
    model.compile(keras_memvit.recipes.adamw_optimizer(0.03))
    history = model.fit(images, labels, epochs=15, verbose=0).history
    return model, images, labels, history


# === What a task is ===


def test_a_spec_of_old_files_is_of_a_single_label():
    config = TaskSpec("a", 2).get_config()
    assert config.pop("kind") == "single_label"
    assert TaskSpec.from_config(config) == TaskSpec("a", 2)
    spec = TaskSpec("a", 2, kind="regression")
    assert TaskSpec.from_config(spec.get_config()) == spec
    with pytest.raises(ValueError, match="`kind` of task 'a' must be one of.*'ranks'"):
        TaskSpec("a", 2, kind="ranks")


# === Losses and metrics ===


def test_everything_is_learned(trained):
    model, images, labels, history = trained
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert set(history) == set(logs)
    assert logs["colours_mean_average_precision"] > 0.95
    assert logs["colours_f1"] > 0.8
    assert logs["years_mae"] < 0.5 * np.nanmean(abs(years_deviation(labels)))
    assert history["years_loss"][0] < 5  # in units of the targets' scale
    assert logs["kind_accuracy"] > 0.9


def years_deviation(labels):
    return labels["years"] - np.nanmean(labels["years"], axis=0)


def test_losses_and_metrics_are_those_of_known_cells(trained):
    model, images, labels, _ = trained
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    answers = {k: v.astype("float64") for k, v in model.predict(images).items()}
    y, logits = labels["colours"].astype("float64"), answers["colours"]
    known = y >= 0
    losses = np.where(known, binary_crossentropy(y, logits), 0).sum(1)
    losses = (losses / np.maximum(known.sum(1), 1))[known.any(1)]
    np.testing.assert_allclose(logs["colours_loss"], losses.mean(), rtol=1e-4)
    positive = np.where(known, logits > 0, False)
    right = (positive & (y == 1)).sum(0)
    f1 = 2 * right / (positive.sum(0) + (y == 1).sum(0))
    np.testing.assert_allclose(logs["colours_f1"], f1.mean(), rtol=1e-5)
    precision = [
        average_precision(y[known[:, k], k], logits[known[:, k], k]) for k in range(3)
    ]
    found = logs["colours_mean_average_precision"]
    np.testing.assert_allclose(found, np.mean(precision), atol=0.02)

    y, values = labels["years"], answers["years"]
    scale = np.nanstd(y, axis=0)
    known = ~np.isnan(y)
    for name, per_cell in (
        ("years_mae", abs(y - values)),
        ("years_loss", ((y - values) / scale) ** 2),
    ):
        by_row = np.where(known, per_cell, 0).sum(1) / np.maximum(known.sum(1), 1)
        by_row = by_row[known.any(1)]
        np.testing.assert_allclose(logs[name], by_row.mean(), rtol=1e-3)


def test_targets_are_standardised_once(trained):
    model, images, labels, _ = trained
    variables = model.task_layers["years"].variables_by_name
    statistics = {
        name: keras.ops.convert_to_numpy(variables[f"target/{name}"])
        for name in ("mean", "scale")
    }
    y = labels["years"]
    np.testing.assert_allclose(statistics["mean"], np.nanmean(y, 0), rtol=1e-6)
    np.testing.assert_allclose(statistics["scale"], np.nanstd(y, 0), rtol=1e-5)
    assert not {"target_mean", "target_scale"} & {
        variable.name for variable in model.trainable_variables
    }
    model._standardize_by(images, {"years": 2 * y})  # as another `fit` would
    np.testing.assert_array_equal(variables["target/mean"], statistics["mean"])


def test_class_weights_weigh_positives():
    model = keras_memvit.build(make_backbone(num_layers=1), SPECS[1:])
    model.compile(keras.optimizers.SGD(0.0), metrics=[], run_eagerly=EAGER)
    images, bright = pictures()
    rows = some_unknown(bright)
    logits = model.predict(images, verbose=0)["colours"].astype("float64")
    weight = {"colours": {0: 5.0}}
    found = model.fit(images, {"colours": rows}, class_weight=weight, verbose=0)
    known = rows >= 0
    losses = binary_crossentropy(rows, logits) * known
    losses *= np.where((rows == 1) & (np.arange(3) == 0), 5.0, 1.0)
    by_row = losses.sum(1) / np.maximum(known.sum(1), 1)
    expected = by_row[known.any(1)].mean()
    np.testing.assert_allclose(found.history["colours_loss"][0], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="`class_weight` of task 'years' must be None"):
        model.fit(images, {"years": bright[:, :2]}, class_weight={"years": {0: 2.0}})
    with pytest.raises(ValueError, match="keyed by classes 0 to 2"):
        model.fit(images, {"colours": rows}, class_weight={"colours": {3: 2.0}})


# === Labels ===


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"colours": np.zeros(NUM, int)}, r"'colours' must be rows \(B, 3\) of 0, 1"),
        ({"colours": np.full((NUM, 3), 2)}, "'colours' must be rows of 3 answers of 0"),
        ({"colours": np.full((NUM, 3), NAN)}, "rows of 3 answers of 0 or 1, or -1"),
        ({"years": np.zeros((NUM, 3))}, r"'years' must be values \(B, 2\), NaN for no"),
        ({"years": np.full((NUM, 2), np.inf)}, "2 finite values, or NaN for no label"),
        ({"years": np.full((NUM, 2), "a")}, "finite values, or NaN.*dtype <U1"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message, trained):
    model, images, _, _ = trained
    with pytest.raises(ValueError, match=message):
        model.evaluate(images, labels, verbose=0)


def test_a_regression_refuses_a_loss_on_classes():
    model = keras_memvit.build(make_backbone(num_layers=1), SPECS[2])
    with pytest.raises(ValueError, match="must be of values, as 'mean_squared_error'"):
        model.compile(loss="binary_crossentropy")


def test_a_generator_needs_the_statistics_first():
    model = keras_memvit.build(make_backbone(num_layers=1), SPECS[2])
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=EAGER)
    images, bright = pictures()
    batch = (images[:8], years(bright)[:8].astype("float32"))
    with pytest.raises(ValueError, match="standardize_targets"):
        model.fit(endless(batch), steps_per_epoch=1, shuffle=False, verbose=0)
    model.standardize_targets(years(bright))
    model.fit(endless(batch), steps_per_epoch=1, shuffle=False, verbose=0)
    assert abs(model.predict(images, verbose=0)["years"][:, 0] - 2015).max() < 30


def test_a_mixture_says_no_label_as_each_kind_has_it():
    images, bright = pictures()
    mixture = keras_memvit.data.mix(
        {
            "colours": (images, some_unknown(bright)),
            "years": (images, np.arange(2 * NUM).reshape(NUM, 2)),
        }
    )
    model = keras_memvit.build(make_backbone(num_layers=1), SPECS[1:])
    model.compile(keras.optimizers.SGD(0.0), metrics=[], run_eagerly=EAGER)
    logs = model.fit(mixture, verbose=0).history
    answers = model.predict(images, verbose=0)["years"]
    y = np.arange(2 * NUM).reshape(NUM, 2)
    expected = np.mean(((y - answers) / y.std(0)) ** 2)
    np.testing.assert_allclose(logs["years_loss"][0], expected, rtol=1e-4)


# === Files, stores, sweeps ===


def test_task_files_and_whole_models_answer_the_same(trained, tmp_path):
    model, images, _, _ = trained
    expected = model.predict(images, verbose=0)
    for name in ("colours", "years"):
        keras_memvit.save_task(model, name, tmp_path / f"{name}.safetensors")
    loaded = keras_memvit.load_task(model.backbone, tmp_path)
    assert {spec.name: spec.kind for spec in loaded.specs} == {
        "colours": "multi_label",
        "years": "regression",
    }
    both = keras_memvit.concatenate(
        [keras_memvit.select(model, "kind"), loaded]
    ).predict(images, verbose=0)
    model.save(tmp_path / "all.keras")
    whole = keras.saving.load_model(tmp_path / "all.keras")
    whole = whole.predict(images, verbose=0)
    for name, answers in expected.items():
        np.testing.assert_allclose(both[name], answers, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(whole[name], answers)
    lines = []
    keras_memvit.inspect(tmp_path / "years.safetensors", lines.append)
    assert "values: 2\nkind: regression" in lines[0]


def test_a_file_with_a_scale_of_zero_is_refused(trained, tmp_path):
    model = keras_memvit.select(trained[0], "years")
    scale = model.task_layers["years"].variables_by_name["target/scale"]
    scale.assign([1.0, 0.0])
    keras_memvit.save_task(model, "years", tmp_path / "years.safetensors")
    with pytest.raises(ValueError, match="'target/scale'.*not positive"):
        keras_memvit.load_task(model.backbone, tmp_path / "years.safetensors")


def test_a_store_gives_what_images_give(trained, tmp_path):
    model, images, labels, _ = trained
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path / "store", dtype="float32", verbose=0
    )
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    stored = model.evaluate(store, return_dict=True, verbose=0)
    for name, value in logs.items():
        np.testing.assert_allclose(stored[name], value, rtol=1e-3)
    fresh = keras_memvit.build(model.backbone, SPECS)
    fresh._standardize_by(store, None)  # as `fit` does
    for name in ("target/mean", "target/scale"):
        np.testing.assert_array_equal(
            *(m.task_layers["years"].arrays()[name] for m in (fresh, model))
        )


# === Exports ===


def test_onnx_serves_each_kind(trained, tmp_path):
    model, images, _, _ = trained
    path = keras_memvit.export_onnx(model, tmp_path / "all.onnx")
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(None, {"images": images.astype("float32")})
    check_served(dict(zip(names, outputs)), model.predict(images, verbose=0))


def check_served(served, answers):
    assert {name for name in served if not name.startswith("kind/")} - {
        "colours/classes"
    } == {"colours/logits", "colours/probabilities", "years/values"}
    values = answers["years"]
    np.testing.assert_allclose(served["years/values"], values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        served["colours/probabilities"], sigmoid(answers["colours"]), atol=1e-5
    )
    probabilities = served["kind/probabilities"].sum(-1)
    np.testing.assert_allclose(probabilities, 1.0, atol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the artefact is TensorFlow's from every backend: tested there",
)
def test_a_saved_model_serves_each_kind(trained, tmp_path):
    import tensorflow as tf

    model, images, _, _ = trained
    folder = keras_memvit.export_saved_model(model, tmp_path / "all" / "1")
    loaded = tf.saved_model.load(str(folder))
    assert "colours_classify" in loaded.signatures
    assert "years_classify" not in loaded.signatures
    served = loaded.signatures["serving_default"](tf.constant(images, "float32"))
    served = {name: value.numpy() for name, value in served.items()}
    check_served(served, model.predict(images, verbose=0))
    example = tf.train.Example()
    png = tf.io.encode_png(images[0]).numpy()
    example.features.feature["image_bytes"].bytes_list.value.append(png)
    scores = loaded.signatures["colours_classify"](
        tf.constant([example.SerializeToString()])
    )["scores"]
    np.testing.assert_allclose(scores, served["colours/probabilities"][:1], atol=1e-4)


@pytest.mark.backend_free
def test_a_sweep_chooses_by_the_metric_of_the_kind():
    images, bright = pictures()
    data = (images, years(bright))
    result = keras_memvit.recipes.sweep(
        make_backbone(num_layers=1),
        SPECS[2],
        data,
        data,
        learning_rates=[1e-6, 0.03],
        num_memory_tokens=[1],
        optimizer=keras_memvit.recipes.adamw_optimizer,
        epochs=4,
    )
    assert [row["learning_rate"] for row in result.table] == [0.03, 1e-6]
    assert result.table[0]["val_mae"] < result.table[1]["val_mae"]
    assert result.best["mean"] == result.table[0]["val_mae"]
    assert result.model.specs[0].kind == "regression"
