"""Running Python in a fresh process on a backend of choice."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

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
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=_environment(backend),
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def run_processes(code, backend, *arguments, count=2):
    """Runs `code` in several processes at once, which find one another by loopback.

    Args:
        code: str. A Python program. In its environment are `RANK`, `WORLD_SIZE`,
            `MASTER_ADDR` and `MASTER_PORT`, as `torchrun` has them, and `PORTS`, one
            for each process.
        backend: str. Value of `KERAS_BACKEND`.
        *arguments: strings or paths.
        count: int. The number of processes.

    Returns:
        A list of `(exit code, output)`. Where one has failed, the others have a minute
        to find out, then they are killed.
    """
    ports = free_ports(count)
    together = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": ports[0],
        "PORTS": ",".join(ports),
    }
    with tempfile.TemporaryDirectory() as folder:
        outputs = [pathlib.Path(folder, str(rank)) for rank in range(count)]
        processes = []
        for rank, path in enumerate(outputs):
            environment = {**_environment(backend), **together, "RANK": str(rank)}
            with path.open("w") as output:
                process = subprocess.Popen(
                    [sys.executable, "-c", code, *map(str, arguments)],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            processes.append(process)
        _wait(processes)
        texts = [path.read_text(errors="replace") for path in outputs]
    return [(process.returncode, text) for process, text in zip(processes, texts)]


def _wait(processes):
    end = time.monotonic() + 600
    while None in (codes := [process.poll() for process in processes]):
        if any(codes):
            end = min(end, time.monotonic() + 60)
        if time.monotonic() > end:
            for process in processes:
                process.kill()
        time.sleep(0.1)


def free_ports(count):
    """A list of strings: ports of loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _environment(backend):
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(TESTS),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
