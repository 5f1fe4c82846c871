"""Ray: connected to, and what its workers are given."""

import os

import keras


def connect():
    """The package `ray`, connected to the cluster that the caller uses, else started.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            f"Bulk work needs {error.name}: pip install 'keras_memvit[ray]'"
        ) from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(log_to_driver=False)
    return ray


def worker_options(num_cpus, num_gpus):
    """What every worker has: a share of its machine, and the caller's backend."""
    variables = {"KERAS_BACKEND": keras.backend.backend()}
    return {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "runtime_env": {"env_vars": variables},
    }


def count_workers(ray, num_workers, num_cpus, num_gpus):
    """How many workers: so many, or as the cluster has room for.

    Raises:
        ValueError: if an argument is no number of these.
    """
    if num_workers is not None and num_workers < 1 or num_cpus <= 0 or num_gpus < 0:
        raise ValueError(
            "`num_workers` must be None or at least 1, `num_cpus` above 0 and "
            f"`num_gpus` at least 0. Received: num_workers={num_workers}, "
            f"num_cpus={num_cpus}, num_gpus={num_gpus}"
        )
    if num_workers is not None:
        return num_workers
    there = ray.cluster_resources()
    room = there.get("CPU", 0) / num_cpus
    if num_gpus:
        room = min(room, there.get("GPU", 0) / num_gpus)
    return max(int(room), 1)
