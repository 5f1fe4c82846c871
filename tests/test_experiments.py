"""The paper's Table 2 as a command: whole, killed and gone on with."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_memvit.experiments import report
from keras_memvit.experiments import table2
from keras_memvit.experiments.__main__ import parse

SMOKE = ["table2", "--smoke", "--regimes", "head", "class", "masked", "deep"]


def test_the_command_writes_table_csv_and_plots(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    rows = table2.run(parse([*SMOKE, "--output", str(tmp_path)]))
    assert [(row["regime"], row["cells"]) for row in rows] == [
        ("head", 0),
        ("class", 0),
        ("masked", 1),
        ("masked", 2),
        ("deep", 1),
        ("deep", 2),
    ]
    for row in rows:
        assert len(row["accuracies"]) == 2 and row["learning_rate"] in (0.1, 0.3)
        np.testing.assert_allclose(row["mean"], np.mean(row["accuracies"]))
    # Three classes of coloured noise are easy.
    assert all(row["mean"] > 0.8 for row in rows)
    counts = {(row["regime"], row["cells"]): row["parameters"] for row in rows}
    assert counts["masked", 2] == 32 + 2 * 2 * 32 + 33 * 3
    assert counts["deep", 1] == 32 + 2 * 32 + 2 * 32 + (3 * 32 + 1) * 3
    with open(tmp_path / "table.csv") as file:
        found = [float(row["mean"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(found, [row["mean"] for row in rows])
    table = (tmp_path / "table.md").read_text()
    assert "base tokens: 0.0" in table and "| CIFAR-100 | 91.8 |" in table
    for name in ("cells", "parameters"):
        assert (tmp_path / f"accuracy_by_{name}.svg").stat().st_size > 1000
    # Once more: nothing is trained again, and the answers are the same.
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    assert table2.run(parse([*SMOKE, "--output", str(tmp_path)])) == rows
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()} == times
    with pytest.raises(ValueError, match=r"differ in \['batch_size'\]"):
        table2.run(parse([*SMOKE, "--batch-size", "7", "--output", str(tmp_path)]))


def test_a_killed_run_goes_on(tmp_path):
    command = [sys.executable, "-m", "keras_memvit.experiments", *SMOKE]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path)],
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
    rows = table2.run(parse([*SMOKE, "--output", str(tmp_path)]))
    assert len(rows) == 6
    after = json.loads(first.read_text())
    assert {key: after[key] for key in before} == before


def test_the_share_of_the_gap():
    rows = [
        {"regime": name, "cells": cells, "mean": mean, "spread": 0.0, "parameters": 1}
        for name, cells, mean in (("full", 0, 0.9), ("head", 0, 0.5), ("deep", 5, 0.8))
    ]
    facts = dict.fromkeys(("data", "backbone", "base_difference", "seeds", "epochs"), 0)
    facts |= dict.fromkeys(("classes", "train", "validation", "test", "image_size"), 0)
    table = report.markdown(rows, facts)
    assert "| memory + deep readout, masked, 5 cells | 80.0 ± 0.0 | 75% | 1 |" in table


@pytest.mark.parametrize("arguments", [["table2"], ["table2", "--data", "x"]])
def test_data_and_backbone_are_required(arguments, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "--data and --backbone are required" in capsys.readouterr().err
