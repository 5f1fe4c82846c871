"""Does what it is told in a process that is killed after a while, again and again.

    python kill_server.py

reads lines `[verb, folder, seconds]` (None: not killed), and answers each with
`[exit code, seconds]`. What saves forever is killed so long after its first file. Each
runs in a fork of this process, which has imported the
library and computed nothing.
"""

import json
import os
import pathlib
import signal
import sys
import time
import traceback

import keras
import numpy as np
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import recipes
from keras_memvit.files.atomic import write_whole
from keras_memvit.recipes import resume
from keras_memvit.recipes import sweep
from keras_memvit.states import writer


def dataset(num_images=12):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, 32, 48, 3), dtype="uint8")
    return images, np.arange(num_images) % 3


def make_model(num_layers=1):
    keras.utils.set_random_seed(0)
    return keras_memvit.build(make_backbone(num_layers=num_layers), {"a": 3})


def save_tasks(folder):
    model, seed = make_model(), 0
    while True:
        randomize(model.task_layers["a"], seed := seed + 1)
        keras_memvit.save_task(model, "a", folder / "a.safetensors")
        begun()


def save_models(folder):
    model, seed = make_model(), 0
    while True:
        randomize(model.task_layers["a"], seed := seed + 1)
        model.save(folder / "a.keras")
        begun()


def precompute(folder):
    writer.SHARD_BYTES = 2 * 7 * 32 * 4  # two images
    keras_memvit.precompute(
        make_backbone(num_layers=1), dataset(), folder, dtype="float32", verbose=0
    )


def fit(folder):
    store = keras_memvit.precompute(
        make_backbone(num_layers=1), dataset(), folder / "store", verbose=0
    )
    model = make_model()
    model.compile(keras.optimizers.Adam(0.01))
    options = {"epochs": 40, "batch_size": 2, "verbose": 0}
    model.fit(store, callbacks=[resume(folder / "run", keep=True)], **options)
    keras_memvit.save_task(model, "a", folder / "a.safetensors")


def export(folder):
    keras_memvit.export_saved_model(
        make_model(), folder / "1", signatures=["a"], warmup=False, overwrite=True
    )


def try_recipes(folder):
    store = keras_memvit.precompute(
        make_backbone(num_layers=1), dataset(), folder / "store", verbose=0
    )
    result = sweep(
        make_backbone(num_layers=1), {"a": 3}, store, store, epochs=3, batch_size=4,
        learning_rates=(0.1, 0.3), num_memory_tokens=(1, 2),
    )  # fmt: skip
    keras_memvit.save_task(result.model, "a", folder / "a.safetensors")
    write_whole(folder / "table.txt", str(result))


def learn(folder):
    images, labels = dataset(30)
    images[np.arange(30), :, :, labels] //= 2  # something to see
    recipes.learn(
        (images, labels), make_backbone(num_layers=1), name="a", output=folder / "out",
        candidates=[recipes.Candidate("class_token", 1, 1e-2)], epochs=6,
        cache=folder / "cache", verbose=0,
    )  # fmt: skip


VERBS = {
    f.__name__: f
    for f in (save_tasks, save_models, precompute, fit, export, try_recipes, learn)
}
FOREVER = ("save_tasks", "save_models")
PIPE = os.pipe()


def begun():
    """Says that the seconds count from now."""
    global PIPE
    if PIPE is not None:
        os.write(PIPE[1], b"x")
        PIPE = None


def in_fork(verb, folder):
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        VERBS[verb](pathlib.Path(folder))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main():
    for line in sys.stdin:
        verb, folder, seconds = json.loads(line)
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            in_fork(verb, folder)
        if verb in FOREVER:
            os.read(PIPE[0], 1)  # the first file is there
        if seconds is not None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([code, time.perf_counter() - start]), flush=True)


if __name__ == "__main__":
    main()
