"""`recipes.learn` of tasks whose images have several answers, or values."""

import csv

import numpy as np
import pytest
from conftest import make_backbone
from PIL import Image

import keras_memvit
from keras_memvit.recipes import Candidate
from keras_memvit.recipes import learn
from keras_memvit.recipes.folds import choose_folds
from keras_memvit.recipes.ridge import fit_ridge_rows
from keras_memvit.recipes.ridge_head import RidgeHead
from keras_memvit.recipes.scoring import mean_average_precision
from keras_memvit.recipes.scoring import r2
from keras_memvit.recipes.temperature import binary_cross_entropy
from keras_memvit.recipes.temperature import fit_temperature

MEMORY = Candidate("class_token", 1, 1e-2)
NAN = float("nan")


def pictures(num=60, seed=0):
    """Noise in which each channel is bright or not, and which: `(num, 32, 48, 3)`."""
    rng = np.random.default_rng(seed)
    bright = rng.integers(0, 2, (num, 3))
    images = rng.integers(0, 100, (num, 32, 48, 3)) + 120 * bright[:, None, None]
    return images.astype("uint8"), bright


def rows_of(bright):
    rows = bright.astype("int8")
    rows[::7, 1] = -1
    rows[3] = -1
    return rows


def years_of(bright):
    years = 2000.0 + 10 * bright.sum(1)
    years[3] = NAN
    return years


@pytest.fixture
def quickly(tmp_path):
    """Arguments that make `learn` fast."""
    return {
        "candidates": [MEMORY],
        "epochs": 3,
        "cache": tmp_path / "cache",
        "verbose": 0,
    }


@pytest.mark.backend_free
def test_it_learns_answers_of_yes_and_no(tmp_path, quickly):
    backbone = make_backbone(num_layers=1)
    images, bright = pictures()
    source = (images, rows_of(bright))
    result = learn(source, backbone, name="a", output=tmp_path / "tasks", **quickly)
    assert (result.kind, result.num_images) == ("multi_label", 59)
    scores = [row["val_mean_average_precision"] for row in result.table]
    assert scores == sorted(scores, reverse=True) and len(scores) == 2
    assert result.val_score == scores[0] > 0.8 and result.val_accuracy is None
    assert result.base_difference == 0.0 and result.card()["kind"] == "multi_label"
    assert f"mean average precision {scores[0]:.3f} on the held-out" in str(result)
    assert (result.evidence.kind, result.evidence.majority) == ("multi_label", None)
    images, bright = pictures(seed=1)
    answers = keras_memvit.load_task(backbone, result.path).predict(images, verbose=0)
    assert np.mean((answers["a"] > 0) == bright) > 0.9
    assert learn(source, backbone, name="a", **quickly).table == result.table


def test_it_learns_values_in_their_units(quickly, monkeypatch):
    backbone = make_backbone(num_layers=1)
    images, bright = pictures()
    source = (images, years_of(bright))
    result = learn(source, backbone, **quickly)
    assert result.kind == "regression" and result.temperature == 1.0
    ridge = next(row for row in result.table if row["candidate"] == "ridge head")
    assert ridge["val_r2"] > 0.8 and ridge["val_loss"] < 4.0  # years
    assert f"R2 {result.val_score:.3f} on the held-out" in str(result)

    def wrong(self, labels, folds, *args):
        return np.zeros((len(folds.judged), 1), "float32")

    monkeypatch.setattr(RidgeHead, "held_out", wrong)
    trained = learn(source, backbone, **quickly)
    assert trained.candidate == MEMORY
    assert trained.table[0]["val_loss"] < 15.0 < trained.table[1]["val_loss"]
    answers = trained.model.predict(images, verbose=0)["task"]
    assert abs(answers - 2015).max() < 40


@pytest.mark.backend_free
def test_one_task_of_a_manifest(tmp_path, quickly):
    images, bright = pictures(24)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    with open(tmp_path / "people.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "age", "smiles"])
        for i, row in enumerate(bright):
            age = "" if i == 3 else str(20.5 + 10 * row.sum())
            writer.writerow([f"{i}.png", age, ["no", "yes"][row[0]]])
    backbone = make_backbone(num_layers=1)
    options = quickly | {"candidates": []}
    age = learn(tmp_path / "people.csv", backbone, name="age", **options)
    assert (age.kind, age.num_images, age.val_score > 0.8) == ("regression", 23, True)
    smiles = learn(tmp_path / "people.csv", backbone, name="smiles", **options)
    assert smiles.class_names == ["no", "yes"] and smiles.val_accuracy > 0.9
    with pytest.raises(ValueError, match=r"`name`, one of \['age', 'smiles'\].*None"):
        learn(tmp_path / "people.csv", backbone, **options)


def test_kinds_that_the_labels_are_not_are_refused(quickly):
    images, bright = pictures(12)
    found = keras_memvit.data.load((images, bright[:, 0]), image_size=(32, 48))
    backbone = make_backbone(num_layers=1)
    with pytest.raises(ValueError, match="`kind` must be that of the labels"):
        learn(found, backbone, kind="regression", **quickly)
    with pytest.raises(ValueError, match=r"0, 1 or -1 \(not known\)"):
        learn((images, bright[:, 0]), backbone, kind="multi_label", **quickly)
    assert not quickly["cache"].exists()


# === What it is made of ===


def test_ridge_solves_each_column_on_its_known_rows():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5))
    targets = features @ rng.normal(size=(5, 3)) + rng.normal(size=(40, 3))
    targets[:10, 1] = NAN
    kernel, bias = fit_ridge_rows(features, targets, strengths=(0.1,))
    for k, rows in enumerate([slice(None), slice(10, None), slice(None)]):
        x, y = features[rows], targets[rows, k]
        centred = x - x.mean(0)
        gram = centred.T @ centred
        penalty = 0.1 * np.trace(gram) / 5 * np.eye(5)
        expected = np.linalg.solve(gram + penalty, centred.T @ (y - y.mean()))
        np.testing.assert_allclose(kernel[:, k], expected, atol=1e-5)
        np.testing.assert_allclose(bias[k], y.mean() - x.mean(0) @ expected, atol=1e-5)
    many = rng.random((40, 20)) < 0.5
    kernel, bias = fit_ridge_rows(features, np.where(many, 1.0, NAN))
    np.testing.assert_allclose(kernel, 0.0, atol=1e-6)
    np.testing.assert_allclose(bias, 1.0, atol=1e-6)


def test_scores_leave_out_what_is_not_known():
    labels = np.array([[1, 0], [0, -1], [1, -1], [-1, -1]])
    logits = np.array([[2.0, 1.0], [1.0, 5.0], [0.0, 5.0], [3.0, 5.0]])
    expected = (1 / 1 + 2 / 3) / 2
    np.testing.assert_allclose(mean_average_precision(logits, labels), expected)
    tied = mean_average_precision(np.zeros((4, 1)), np.array([[1], [0], [0], [0]]))
    assert tied == 0.25
    y = np.array([[1.0, 5.0], [2.0, NAN], [4.0, 5.0]])
    values = np.array([[1.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(r2(values, y), 1 - 1 / np.sum((y[:, 0] - 7 / 3) ** 2))


def test_the_temperature_of_sigmoids_undoes_a_scale():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 2))
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    labels[::5, 0] = -1
    found = fit_temperature(3.0 * logits, labels, binary_cross_entropy)
    assert abs(found - 3.0) < 0.3


def test_few_positives_are_judged_in_turn():
    rows = np.zeros((40, 2), "float32")
    rows[:20, 0], rows[:3, 1] = 1, 1
    held_out = np.arange(40) % 4 == 0
    folds = choose_folds(rows[:, :1], held_out, 0, "multi_label")
    assert folds.count == 1 and len(folds.judged) == 10
    folds = choose_folds(rows, held_out, 0, "multi_label")
    assert folds.count == 5 and len(folds.judged) == 40
    hidden = folds.labels(rows, 2, -1)
    assert (hidden[folds.fold == 2] == -1).all()
    np.testing.assert_array_equal(hidden[folds.fold != 2], rows[folds.fold != 2])
    values = np.arange(200.0)[:, None]
    assert choose_folds(values, np.arange(200) < 50, 0, "regression").count == 1
    assert choose_folds(values, np.arange(200) < 20, 0, "regression").count == 5
