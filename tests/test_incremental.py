"""Tasks that arrive in turn: what is measured, the methods, the command."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit.experiments import incremental
from keras_memvit.experiments import learners
from keras_memvit.experiments import stream
from keras_memvit.experiments.__main__ import parse
from keras_memvit.experiments.measures import auroc
from keras_memvit.experiments.measures import forgetting
from keras_memvit.experiments.measures import measure
from keras_memvit.experiments.smoke import smoke_backbone
from keras_memvit.models.unified.unified_vit import features_and_logits

SMOKE = ["incremental", "--smoke", "--readout", "ridge"]


# === What is measured ===


def one_hot(answers, num_classes):
    return np.eye(num_classes)[answers]


def test_figures_by_hand():
    # Two tasks of two classes, two test images a class.
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    unknown = np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 2.0, 9.0, 9.0]]).T
    first = one_hot([0, 0, 1, 0, 1, 1, 0, 0], 2)  # three of the first task's four
    second = one_hot([0, 2, 0, 3, 2, 2, 3, 1], 4)
    second[1] += [0.6, 0.0, 0.0, 0.0]  # among its task's classes: 0, which is right
    second[7] += [0.0, 0.0, 0.1, 0.4]  # 3, which is right
    found = measure([(first, unknown), (second, unknown)], labels, [2, 2])
    assert found["steps"] == [3 / 4, 4 / 8] and found["last"] == 4 / 8
    assert found["average"] == (3 / 4 + 4 / 8) / 2
    assert found["by_task"] == [[3 / 4], [1 / 4, 3 / 4]]
    assert found["forgetting"] == 3 / 4 - 1 / 4
    assert found["task"] == 5 / 8
    # Image 2 is answered by 0; of image 3 both logits are 0, and the first counts.
    assert found["known"] == 6 / 8
    # Of 16 pairs only that of 3 and 2 is the wrong way round; 2 and 2 is half one.
    assert found["unknown"] == [14.5 / 16]
    own = one_hot([0, 0, 1, 1, 2, 2, 3, 2], 4)
    assert measure([(second, unknown)] * 2, labels, [2, 2], own)["known"] == 7 / 8
    joint = measure([(second, unknown)], labels, [2, 2])
    assert joint["last"] == 4 / 8
    missing = {k for k, value in joint.items() if value is None}
    assert missing == {"average", "forgetting", "unknown"}


def test_forgetting_is_measured_from_the_best():
    steps = [[0.6], [0.9, 0.5], [0.7, 0.7, 0.1]]
    np.testing.assert_allclose(forgetting(steps), ((0.9 - 0.7) + (0.5 - 0.7)) / 2)
    assert forgetting([[0.4]]) == 0.0


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 40), rng.integers(3, 12, 30)
    pairs = [(k < u) + (k == u) / 2 for k in known for u in unknown]
    np.testing.assert_allclose(auroc(known, unknown), np.mean(pairs))


# === Methods ===


def pictures(count, seed):
    """Four classes: a pattern each, and noise."""
    patterns = np.random.default_rng(0).uniform(60, 195, (4, 32, 48, 1))
    labels = np.arange(count) % 4
    noise = np.random.default_rng(seed).normal(0, 40, (count, 32, 48, 3))
    images = np.clip(patterns[labels] + noise, 0, 255)
    return images.astype("uint8"), labels


@pytest.fixture(scope="module")
def arrived():
    """A model of two tasks, its images, and the same as a `Stream`."""
    model = keras_memvit.build(make_backbone(), {"task1": 2, "task2": 2})
    randomize(model, 3)
    parts, found = [pictures(40, 1), pictures(16, 2)], []
    for images, labels in parts:
        rows = features_and_logits(model, [keras.ops.convert_to_tensor(images)])
        found.append(stream.Images(rows[0], labels, rows[1]))
    return model, parts, stream.Stream({"task1": 2, "task2": 2}, *found, 0, 64)


@pytest.mark.backend_free
@pytest.mark.parametrize("method", ["ridge", "task_posterior", "gates", "max"])
def test_the_table_measures_what_unify_gives(arrived, method):
    model, ((images, labels), (test_images, _)), whole = arrived
    data = {
        f"task{k + 1}": (images[labels // 2 == k], labels[labels // 2 == k] % 2)
        for k in range(2)
    }
    one = keras_memvit.unify(model, data, method=method, num_random_features=64)
    expected = one(test_images, training=False)
    logits, scores = learners.unified(method)(whole)[-1]
    expected = {k: keras.ops.convert_to_numpy(x) for k, x in expected.items()}
    np.testing.assert_allclose(logits, expected["all"], rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(scores, expected["unknown"], rtol=1e-2, atol=1e-1)


def test_ridge_on_frozen_features_is_the_closed_form(arrived):
    _, _, whole = arrived
    x, y = whole.train.features.astype("float64"), np.eye(4)[whole.train.labels]
    centred, (logits, scores) = x - x.mean(0), learners.ridge(whole)[-1]
    gram = centred.T @ centred
    errors = []
    for strength in 10.0 ** np.arange(-4, 3):
        ridge = strength * np.trace(gram) / len(gram) * np.eye(len(gram))
        kernel = np.linalg.solve(gram + ridge, centred.T @ (y - y.mean(0)))
        found = (whole.test.features - x.mean(0)) @ kernel + y.mean(0)
        errors.append(np.abs(found - logits).max())
    assert min(errors) < 1e-3  # of one of the strengths that are tried
    np.testing.assert_array_equal(scores[:, 0], -logits.max(1))


# === The command ===


def test_each_class_arrives_once_and_seeds_give_other_orders():
    groups = stream.arrival(11, 3, 0)
    assert [len(g) for g in groups] == [4, 4, 3]
    assert sorted(np.concatenate(groups)) == list(range(11))
    other = np.concatenate(stream.arrival(11, 3, 1))
    assert other.tolist() != np.concatenate(groups).tolist()
    for tasks in (1, 6):
        with pytest.raises(ValueError, match="`--tasks` must be from 2 to 5"):
            stream.arrival(11, tasks, 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was killed when it had its first figures, and called again."""
    output = tmp_path_factory.mktemp("incremental")
    command = [*SMOKE, "--output", str(output)]
    first = output / "cells" / "0.json"
    with subprocess.Popen(
        [sys.executable, "-m", "keras_memvit.experiments", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 300
        while not first.exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    killed = {
        "cells": json.loads(first.read_text()),
        "table": (output / "table.md").exists(),
        "tasks": times(output / "tasks"),
    }
    return output, command, killed, incremental.run(parse(command))


def times(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}


@pytest.mark.backend_free
def test_a_killed_run_goes_on(finished):
    output, command, killed, rows = finished
    assert killed["cells"] and killed["tasks"] and not killed["table"]
    after = json.loads((output / "cells" / "0.json").read_text())
    assert {name: after[name] for name in killed["cells"]} == killed["cells"]
    trained = times(output / "tasks")
    assert len(trained) == 2 * (3 + 1)
    assert {p: trained[p] for p in killed["tasks"]} == killed["tasks"]
    cells = [p.stat().st_mtime_ns for p in (output / "cells").iterdir()]
    assert incremental.run(parse(command)) == rows
    assert [p.stat().st_mtime_ns for p in (output / "cells").iterdir()] == cells
    with pytest.raises(ValueError, match=r"differ in \['readout'\]"):
        incremental.run(parse([*command, "--readout", "deep"]))


@pytest.mark.backend_free
def test_the_command_writes_table_csv_and_plot(finished):
    output, _, _, rows = finished
    assert [row["method"] for row in rows] == list(learners.METHODS)
    by_name = {row["method"]: row for row in rows}
    for row in rows:
        for column in ("last", "task", "known"):
            values = [cell[column] for cell in row["cells"]]
            assert len(values) == 2
            np.testing.assert_allclose(row[column], [np.mean(values), np.std(values)])
        assert row["last"][0] <= row["task"][0] <= 1.0
        assert row["method"].startswith("unify") or row["last"] <= row["known"]
    # Six classes of coloured noise are easy.
    for name in ("joint", "ridge", "nearest_mean", "unify_ridge"):
        assert by_name[name]["last"][0] > 0.9, name
    assert by_name["joint"]["average"] is None
    with open(output / "table.csv") as file:
        found = list(csv.DictReader(file))
    for line, row in zip(found, rows, strict=True):
        assert line["method"] == row["method"]
        assert [float(line["last"]), float(line["last_spread"])] == row["last"]
    assert found[0]["average"] == "" and found[1]["unknown_mahalanobis"]
    table = (output / "table.md").read_text()
    assert table.count("| `unify`, ") == 4
    assert "(2, 2, 2 classes); 126 images to train, 54 to test" in table
    mean, spread = (100 * x for x in by_name["unify_max"]["last"])
    assert f'| `unify`, "max" | {mean:.1f} ± {spread:.1f} |' in table
    pytest.importorskip("matplotlib")
    assert (output / "accuracy_by_step.svg").stat().st_size > 1000


@pytest.mark.backend_free
def test_a_task_is_trained_on_its_own_classes_alone(tmp_path):
    command = [*SMOKE[:2], "--readout", "class_token", "--methods", "unify_max"]
    args = parse([*command, "--output", str(tmp_path)])
    args.tasks, args.seeds = 2, 1
    (row,) = incremental.run(args)
    assert row["known"][0] > 0.5
    # The second task as a user would train it.
    store = keras_memvit.StateStore(tmp_path / "states" / "train")
    classes = stream.arrival(6, 2, 0)[1].tolist()
    rows = [i for i, y in enumerate(store.labels) if y in classes]
    labels = np.array([classes.index(store.labels[i]) for i in rows])
    model = keras_memvit.build(smoke_backbone(), {"task2": 3})
    model.task_layers["task2"].start(0)
    model.compile(keras_memvit.recipes.adamw_optimizer(1e-2))
    model.fit(
        store.subset(rows).with_labels({"task2": labels}),
        epochs=8,
        batch_size=32,
        verbose=0,
    )
    kept = tmp_path / "tasks" / "0" / "task2.safetensors"
    kept = keras_memvit.load_task(smoke_backbone(), kept).task_layers["task2"]
    for name, array in model.task_layers["task2"].arrays().items():
        np.testing.assert_allclose(kept.arrays()[name], array, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "words, named",
    [
        (["--readout", "wide"], "'wide'"),
        (["--methods", "luck"], "'luck'"),
    ],
)
def test_what_is_none_is_refused(words, named, capsys):
    with pytest.raises(SystemExit):
        parse([*SMOKE, *words])
    assert named in capsys.readouterr().err


def test_data_and_backbone_are_required(capsys):
    with pytest.raises(SystemExit):
        parse(["incremental", "--data", "x"])
    assert "--data and --backbone are required" in capsys.readouterr().err


def test_one_class_an_image_is_required(tmp_path, monkeypatch):
    images = np.zeros((8, 32, 32, 3), "uint8")
    rows = np.arange(16).reshape(8, 2) % 3 % 2
    monkeypatch.setattr(incremental, "smoke_data", lambda count: (images, rows))
    with pytest.raises(ValueError, match="one class an image"):
        incremental.run(parse([*SMOKE, "--output", str(tmp_path)]))
