"""A training that is killed goes on where Keras' backup left it."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from processes import TESTS

# Prints a line a step; saves the losses and the final values when it ends.
TRAIN = """
import json
import sys

import keras
import numpy as np
from conftest import start_tasks

import keras_memvit

backup, result = sys.argv[1:]
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (24, 32, 48, 3), dtype="uint8")
keras.utils.set_random_seed(0)
model = start_tasks({"a": 3, "b": 2})
train = keras_memvit.data.mix(
    {"a": (images, np.arange(24) % 3), "b": (images[:12], np.arange(12) % 2)},
    batch_size=4,
)


class Steps(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("step", self.epoch, batch, flush=True)
        if sys.stdin.readline() == "":
            raise SystemExit

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


history = model.fit(
    train, epochs=4, verbose=0,
    callbacks=[keras.callbacks.BackupAndRestore(backup), Steps()],
)
final = [float(np.sum(np.abs(w))) for w in model.get_weights()]
evaluated = model.evaluate(train, return_dict=True, verbose=0)
with open(result, "w") as file:
    json.dump(
        [history.epoch, history.history["loss"], evaluated, final,
         int(model.optimizer.iterations)], file)
"""


def train(folder, result, kill_at=None):
    """Trains in a process of its own, killed by SIGKILL at (epoch, batch)."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(folder), str(result)],
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "PYTHONPATH": str(TESTS),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if not line.startswith("step"):
            continue
        epoch, batch = map(int, line.split()[1:])
        if (epoch, batch) == kill_at:
            process.send_signal(signal.SIGKILL)
            break
        process.stdin.write("go\n")
        process.stdin.flush()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        pipe.close()
    return code


@pytest.mark.backend_free
def test_a_killed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    assert train(tmp_path / "whole", tmp_path / "whole.json") == 0
    killed = train(tmp_path / "backup", tmp_path / "resumed.json", kill_at=(2, 4))
    assert killed == -signal.SIGKILL
    assert not (tmp_path / "resumed.json").exists()
    assert train(tmp_path / "backup", tmp_path / "resumed.json") == 0
    epochs, losses, evaluated, final, steps = json.loads(
        (tmp_path / "whole.json").read_text()
    )
    resumed = json.loads((tmp_path / "resumed.json").read_text())
    assert (epochs, resumed[0]) == ([0, 1, 2, 3], [2, 3])
    assert steps == resumed[4] == 4 * 9
    np.testing.assert_allclose(resumed[1], losses[2:], rtol=1e-5)
    for name in evaluated:
        np.testing.assert_allclose(resumed[2][name], evaluated[name], rtol=1e-5)
    np.testing.assert_allclose(resumed[3], final, rtol=1e-5)
