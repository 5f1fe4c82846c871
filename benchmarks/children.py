"""Measurements in processes of their own, and what all commands share."""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BACKENDS = ("jax", "torch", "tensorflow")


def run_child(script, *arguments, backend, one_core=False, measures_memory=False):
    """Runs a script in a fresh process and returns its result.

    Args:
        script: the file; its last line of output is JSON.
        *arguments: of the command line.
        backend: str. Value of `KERAS_BACKEND`.
        one_core: bool. Whether the process is confined to one core.
        measures_memory: bool. Whether the allocator gives back at once what is
            freed, so that the resident set is what is in use.

    Raises:
        RuntimeError: with the process's errors.
    """
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if measures_memory:
        env["MALLOC_MMAP_THRESHOLD_"] = "65536"
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(
        command,
        env=env,
        capture_output=True,
        text=True,
        preexec_fn=_confine_to_one_core if one_core else None,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed on {backend}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _confine_to_one_core():
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def on_backends(script, backends, *arguments):
    """What `measure` of a script's arguments finds, by backend, one after the other."""
    return {
        backend: run_child(script, "--child", *arguments, backend=backend)
        for backend in backends
    }


def main_or_child(main, measure):
    """Runs `main`; after `--child`, `measure` of the arguments, and prints JSON."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()


def parser_of(doc, name, backends=BACKENDS):
    """A command's parser with `--output` and, unless there are none, `--backends`."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if backends:
        parser.add_argument("--backends", nargs="+", choices=backends, default=backends)
    output = HERE / "results" / f"{name}.json"
    parser.add_argument("--output", type=pathlib.Path, default=output)
    return parser


def write_report(path, report, machine=None):
    """Writes what was measured as JSON, with `"made"`: when, where, by what command.

    Args:
        path: the file.
        report: a dict.
        machine: optional str. What it was measured on. Defaults to the CPU's cores.
    """
    made = {
        "date": datetime.date.today().isoformat(),
        "machine": machine or f"{len(os.sched_getaffinity(0))} CPU cores",
        "command": command_line(sys.argv),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"made": made, **report}, indent=1) + "\n")


def command_line(arguments):
    """The command as a reader types it: without `--output`, folders by their name."""
    script, *rest = arguments
    if "--output" in rest:
        place = rest.index("--output")
        del rest[place : place + 2]
    rest = [pathlib.Path(a).name if os.path.isabs(a) else a for a in rest]
    return shlex.join(["python", f"benchmarks/{pathlib.Path(script).name}", *rest])
