"""Bulk work in a process of its own, which a test may kill.

    python bulk_jobs.py predict|precompute FOLDER

runs it on a Ray of two CPUs, and prints what it gave as JSON.
"""

import json
import os
import pathlib
import sys
import warnings

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.states import writer

SPECS = [
    TaskSpec("birds", 3, class_names=["owl", "tit", "wren"]),
    TaskSpec("number", 2, kind="regression"),
]
OPTIONS = {"top": 3, "batch_size": 4, "shard_size": 4}


def make_model():
    model = keras_memvit.build(make_backbone(), SPECS)
    for i, spec in enumerate(SPECS):
        randomize(model.task_layers[spec.name], seed=i)
    return model


def predict(folder):
    return keras_memvit.data.predict_folder(
        folder / "photos", make_model(), folder / "out", **OPTIONS
    )


def precompute(folder):
    store = keras_memvit.data.precompute_folder(
        folder / "photos", make_model(), folder / "out", dtype="float32", batch_size=4
    )
    return store.num_images


def start_ray():
    """Two CPUs on loopback, whose workers write small shards."""
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": _four_images_a_shard},
    )


def _four_images_a_shard():
    writer.SHARD_BYTES = 4 * 2 * 7 * 32 * 4


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Ray's own
    start_ray()
    print(json.dumps(globals()[sys.argv[1]](pathlib.Path(sys.argv[2]))))
