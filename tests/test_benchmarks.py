"""The page of benchmarks is what their results say; each has a short form."""

import json
import pathlib
import re
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.backend_free


@pytest.fixture(autouse=True)
def path_of_benchmarks(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def test_page_is_what_the_results_say():
    import table

    assert (BENCHMARKS / "README.md").read_text() == table.page()


def test_page_says_where_a_goal_is_missed(monkeypatch, tmp_path):
    import table

    found = {
        "made": {"date": "2026-01-31", "machine": "7 CPU cores", "command": "python x"},
        "jax": {"build": 1.0},
        "torch": {"build": 3.0},
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "startup.json").write_text(json.dumps(found))
    monkeypatch.setattr(table, "results", lambda: (tmp_path / "results").glob("*.json"))
    page = table.page()
    assert "`python x`, 2026-01-31, 7 CPU cores" in page
    assert "| build, s | 1.00 | 3.00 | <= 2 | missed: torch by 1.500 |" in page


def test_every_goal_is_of_a_figure_with_a_reader():
    import table
    from table_rows import READERS

    assert set(table.LIMITS) <= set(READERS)
    for path in table.results():
        rows = table.rows_of(path.stem, json.loads(path.read_text()))
        limits = [row for row in rows if table.limit_of(path.stem, row.figure)]
        assert limits or path.stem not in table.LIMITS


def test_every_script_that_writes_a_report_is_run_and_read():
    import run_all
    from table_rows import READERS

    writers = {
        path.stem
        for path in BENCHMARKS.glob("*.py")
        if re.search(r"^    write_report\(args", path.read_text(), re.M)
    }
    assert len(writers) > 10
    assert {*run_all.SHORT, *run_all.LONG_ONLY} == writers == set(READERS)


def test_short_forms_miss_no_figure_silently():
    import run_all

    report = {"made": {}, "torch": {"build": 1.0, "import keras": float("nan")}}
    assert "2 finite figures" in run_all.wrong_with("startup", report, 2)
    assert "3 finite figures" in run_all.wrong_with("startup", report, 3)
    del report["torch"]["import keras"]
    assert run_all.wrong_with("startup", report, 1) is None


def test_a_benchmark_that_is_killed_has_failed(monkeypatch, tmp_path):
    import run_all

    monkeypatch.setattr(run_all, "HERE", tmp_path)
    (tmp_path / "dead.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert run_all.run("dead", "", tmp_path, tmp_path) == "ended with -9"
    (tmp_path / "alive.py").write_text("")
    assert run_all.run("alive", "", tmp_path, tmp_path) is None


def test_what_is_no_number_meets_no_goal():
    import table

    assert table.verdict({"jax": float("nan")}, ("<=", 2)) == "missed: jax by nan"
    assert table.verdict({"jax": 2.0}, ("<=", 2)) == "met"


def test_reports_say_when_where_and_how(monkeypatch, tmp_path):
    import children

    monkeypatch.setattr(
        sys, "argv", ["/a/speed.py", "--output", "x.json", "--backbone", "/b/preset"]
    )
    children.write_report(tmp_path / "x.json", {"jax": 1})
    report = json.loads((tmp_path / "x.json").read_text())
    assert report["jax"] == 1
    assert report["made"]["command"] == "python benchmarks/speed.py --backbone preset"
    assert re.fullmatch(r"\d+ CPU cores", report["made"]["machine"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report["made"]["date"])
