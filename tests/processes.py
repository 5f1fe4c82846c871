"""Running Python in a fresh process on a backend of choice."""

import os
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")


def run_python(code, backend, *arguments):
    """Runs `code` in a fresh process; returns its standard output.

    Args:
        code: str. A Python program; `sys.argv[1:]` are the arguments, and the
            modules of the tests folder can be imported.
        backend: str. Value of `KERAS_BACKEND`.
        *arguments: strings or paths.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(TESTS),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
