"""The paper's Table 2 as a command: whole, killed and gone on with."""

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

import keras_memvit
from keras_memvit.data import ImageBatches
from keras_memvit.data import load
from keras_memvit.experiments import report
from keras_memvit.experiments import table2
from keras_memvit.experiments.__main__ import parse
from keras_memvit.experiments.forgetting import output_change
from keras_memvit.experiments.regimes import OPTIMIZERS
from keras_memvit.experiments.regimes import REGIMES
from keras_memvit.experiments.smoke import smoke_backbone
from keras_memvit.experiments.smoke import smoke_data
from keras_memvit.experiments.training import Splits
from keras_memvit.experiments.training import train_alone
from keras_memvit.rivals import RIVALS

SMOKE = ["table2", "--smoke", "--regimes"]


@pytest.mark.backend_free
def test_the_command_writes_table_csv_and_plots(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    regimes = ["head", "class", "deep", "masked:2", "learn"]
    command = [*SMOKE, *regimes, "--output", str(tmp_path)]
    *rows, learned = found = table2.run(parse(command))
    assert [(row["regime"], row["cells"]) for row in rows] == [
        ("head", 0),
        ("class", 0),
        ("deep", 1),
        ("deep", 2),
        ("masked", 2),
    ]
    for row in rows:
        seeds = 1 if row["regime"] == "class" else 2
        assert len(row["accuracies"]) == seeds and row["learning_rate"] in (0.03, 0.1)
        np.testing.assert_allclose(row["mean"], np.mean(row["accuracies"]))
    # `recipes.learn` chooses a rate or needs none.
    assert learned["regime"] == "learn" and learned["learning_rate"] is None
    assert [type(chosen) for chosen in learned["chosen"]] == [str, str]
    assert learned["chosen"][0] in capsys.readouterr().out
    # Three classes of coloured noise are easy.
    assert all(row["mean"] > 0.8 for row in found)
    changes = {row["regime"]: row["output_change"] for row in rows}
    assert changes["head"] is None and changes["deep"] == 0.0 and changes["class"] > 0
    counts = {(row["regime"], row["cells"]): row["parameters"] for row in rows}
    assert counts["class", 0] == 32 + 33 * 3
    assert counts["deep", 1] == 32 + 2 * 32 + 2 * 32 + (3 * 32 + 1) * 3
    with open(tmp_path / "table.csv") as file:
        means = [float(row["mean"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(means, [row["mean"] for row in found])
    table = (tmp_path / "table.md").read_text()
    assert "base tokens: 0.0" in table and "| CIFAR-100 | 91.8 |" in table
    for name in (
        "accuracy_by_cells.svg",
        "accuracy_by_parameters.svg",
        "attention.png",
        "forgetting.svg",
    ):
        assert (tmp_path / name).stat().st_size > 1000
    # Once more: nothing is trained again, and the answers are the same.
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    assert table2.run(parse(command)) == found
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()} == times
    with pytest.raises(ValueError, match=r"differ in \['batch_size'\]"):
        table2.run(parse([*command, "--batch-size", "7"]))
    with pytest.raises(ValueError, match=r"differ in \['optimizer'\]"):
        table2.run(parse([*command, "--optimizer", "sgd"]))


@pytest.mark.backend_free
def test_a_killed_run_goes_on(tmp_path):
    command = [*SMOKE, "head", "masked", "--output", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "keras_memvit.experiments", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        first = tmp_path / "cells" / "head-0.json"
        deadline = time.monotonic() + 300
        while not first.exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "table.md").exists()
    before = json.loads(first.read_text())
    rows = table2.run(parse(command))
    assert [(row["regime"], row["cells"]) for row in rows] == [
        ("head", 0),
        ("masked", 1),
        ("masked", 2),
    ]
    after = json.loads(first.read_text())
    assert {key: after[key] for key in before} == before


def test_regimes_from_images_see_another_order_each_epoch(monkeypatch):
    orders = []
    read = ImageBatches.__getitem__

    def reading(self, index):
        if self.shuffle:
            orders.append((self.epoch, tuple(self.order)))
        return read(self, index)

    monkeypatch.setattr(ImageBatches, "__getitem__", reading)
    backbone, images = smoke_backbone(), smoke_data()
    found = load(images, image_size=32, augment=None, validation_split=0.3)
    splits = Splits(found.train, found.validation, found.validation, {}, {}, 3)
    train_alone(backbone, splits, REGIMES["class"], 0, 0.1, 0, 3, optimizer="sgd")
    by_epoch = {epoch: order for epoch, order in orders}
    assert sorted(by_epoch) == [0, 1, 2]
    in_order = tuple(range(len(found.train.examples)))
    assert len({in_order, *by_epoch.values()}) == 4


def test_the_share_of_the_gap():
    rows = [
        {"regime": name, "cells": cells, "mean": mean, "parameters": 1}
        for name, cells, mean in (("full", 0, 0.9), ("head", 0, 0.5), ("deep", 5, 0.8))
    ]
    rows = [{**row, "spread": 0.0, "accuracies": [row["mean"]] * 2} for row in rows]
    facts = dict.fromkeys(
        (
            "image_seeds",
            "image_epochs",
            "data",
            "backbone",
            "base_difference",
            "seeds",
            "epochs",
        ),
        0,
    )
    facts["optimizer"] = "adamw"
    facts |= dict.fromkeys(("classes", "train", "validation", "test", "image_size"), 0)
    table = report.markdown(rows, facts)
    assert (
        "| memory + deep readout, masked, 5 cells | 80.0 ± 0.0 | 75 (75, 75) | 1 | "
        in table
    )


def test_what_is_forgotten():
    backbone, (images, _) = smoke_backbone(), smoke_data()
    images = images[:8].astype("float32")
    masked = keras_memvit.build(backbone, {"a": 3})
    unmasked = keras_memvit.build(backbone, {"a": 3}, attention="unmasked")
    for model in (masked, unmasked):
        for variable in model.task_layers["a"].weights:
            variable.assign(variable.value * 100.0)
    assert output_change(backbone, masked, images) == 0.0
    assert output_change(backbone, unmasked, images) > 0.1
    full = keras_memvit.recipes.baseline(backbone, 3, "full")
    assert output_change(backbone, full, images) == 0.0
    gamma = full.backbone.norm.gamma
    gamma.assign(gamma.value * 1.5)
    after, before = (
        keras.ops.convert_to_numpy(encoder(images))[:, 0]
        for encoder in (full.backbone, backbone)
    )
    by_hand = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(
        output_change(backbone, full, images), by_hand.mean(), rtol=1e-5
    )
    assert by_hand.mean() > 0.1


@pytest.mark.parametrize("regime", REGIMES.values(), ids=REGIMES)
def test_a_row_of_the_table_names_what_is_there(regime):
    assert regime.rival is None or regime.rival in RIVALS
    if regime.masked:
        keras_memvit.TaskSpec("a", 2, **regime.masked)
    for asked in OPTIMIZERS:
        assert regime.optimizer(asked) in OPTIMIZERS and regime.rates(asked)


@pytest.mark.parametrize("regime", ["adapters", "head:5", "masked:a"])
def test_a_regime_that_is_none_is_refused(regime, capsys):
    with pytest.raises(SystemExit):
        parse(["table2", "--smoke", "--regimes", regime])
    assert repr(regime) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["table2"], ["table2", "--data", "x"]])
def test_data_and_backbone_are_required(arguments, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "--data and --backbone are required" in capsys.readouterr().err
