"""Bulk work in a process of its own, which a test may kill.

    python bulk_jobs.py predict|precompute|examples|serve FOLDER

runs it on a Ray of two CPUs, and prints what it gave as JSON; `serve` ends with its
standard input.
"""

import inspect
import json
import os
import pathlib
import re
import sys
import warnings

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray gives up on a proxy that is not ready in 5 seconds, which two busy cores may need.
PATIENCE = 200  # seconds
os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = str(PATIENCE)
os.environ["RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"] = str(PATIENCE)

from conftest import make_backbone
from conftest import randomize
from PIL import Image

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.states import writer

SPECS = [
    TaskSpec("birds", 3, class_names=["owl", "tit", "wren"]),
    TaskSpec("number", 2, kind="regression"),
]
RESULT = "result: "
OPTIONS = {"top": 3, "batch_size": 4, "shard_size": 4}


def make_model():
    model = keras_memvit.build(make_backbone(), SPECS)
    for i, spec in enumerate(SPECS):
        randomize(model.task_layers[spec.name], seed=i)
    return model


def save(images, folder):
    """Images as PNG files in a new folder."""
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def predict(folder):
    return keras_memvit.data.predict_folder(
        folder / "photos", make_model(), folder / "out", **OPTIONS
    )


def precompute(folder):
    store = keras_memvit.data.precompute_folder(
        folder / "photos", make_model(), folder / "out", dtype="float32", batch_size=4
    )
    return store.num_images


def examples(folder):
    """The docstrings' own, of small pictures and models."""
    os.chdir(folder)
    model = make_model()
    model.save("people.keras")
    digits = keras_memvit.build(model.backbone, {"digits": 2})
    digits.compile()
    scope = {"keras_memvit": keras_memvit, "backbone": model.backbone, "digits": digits}
    for function in ("predict_folder", "precompute_folder"):
        text = inspect.getdoc(getattr(keras_memvit.data, function))
        exec(re.search(r"```python\n(.*?)```", text, re.S).group(1), scope)
    return [len(scope["broken"]), scope["store"].num_images]


def serve(folder):
    """Two replicas on a free port, which is printed."""
    import socket

    from ray import serve
    from ray.serve._private import api

    from keras_memvit.serving.ray_app import build_app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"directory": folder / "tasks", "backbone": folder / "preset"}
    words |= {"num_replicas": 2, "num_cpus": 0.5, "max_delay_ms": 1}
    api.HTTP_PROXY_TIMEOUT = PATIENCE
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build_app({name: str(word) for name, word in words.items()}))
    print(port, flush=True)
    sys.stdin.read()
    serve.shutdown()


def start_ray():
    """Two CPUs on loopback, whose workers write small shards."""
    import ray

    ray.init(
        address="local",
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
    found = globals()[sys.argv[1]](pathlib.Path(sys.argv[2]))
    print(RESULT + json.dumps(found))  # Ray prints lines of its own
