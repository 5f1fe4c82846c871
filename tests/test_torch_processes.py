"""torch: processes train what one does, and a killed one goes on."""

import keras
import pytest
from processes import run_processes
from together import start

from keras_memvit.recipes import data_parallel

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="processes of torch"
)

BEGIN = """
import os
import signal
import sys

import keras
import numpy as np
import torch
from conftest import make_backbone, start_tasks
from together import BATCH, HALF, OPTIONS, RANK, STEPS, X, Y, assert_same, fit
from together import start, state

import keras_memvit
from keras_memvit.recipes import data_parallel, resume

if "WORLD_SIZE" in os.environ:
    torch.distributed.init_process_group("gloo")
"""

FIT = """
model = start()
if RANK:  # the first process's values count
    for task in model.task_layers.values():
        task.start(5)
with data_parallel(model):
    found = fit(model, HALF, BATCH // 2)
assert_same(found, fit(start()))
"""

KEYS = """
def train(model, rows, tasks):
    for _ in range(3):
        for step in range(STEPS):
            batch = np.arange(len(X)).reshape(STEPS, BATCH)[step][rows]
            labels = {task: Y[task][batch] for task in tasks}
            model.train_on_batch(X[batch], labels)
    return state(model)

half = slice(RANK * 4, RANK * 4 + 4)
model = start()
with data_parallel(model):  # the second has no label of "b", and does not say so
    found = train(model, half, "ba" if RANK == 0 else "a")
assert_same(found, train(start(), slice(None), "ab"))
"""

REGRESSION = """
Y["a"] = np.linspace(10.0, 40.0, len(X))
Y["a"][3::4] = np.nan
spec = keras_memvit.TaskSpec
tasks = [spec("a", 1, kind="regression"), spec("b", 2)]
begin = lambda: start_tasks(tasks, keras.optimizers.SGD(0.01, global_clipnorm=1.0))
model = begin()
with data_parallel(model):
    found = fit(model, HALF, BATCH // 2)
expected = fit(begin())
for steps in (found["steps"], expected["steps"]):
    assert steps.pop("a") == 6  # it has labels in every step
    steps["a"] = 3
assert_same(found, expected)
"""

# One process never meets a label of "c", and sums the metrics of it all the same.
MULTI_LABEL = """
tasks = [spec("a", 3), spec("c", 2, kind="multi_label")]
rows = np.arange(len(X)) // (BATCH // 2) % 2  # whose half of a batch
odd = np.arange(len(X)) % 2
labels = {"a": np.arange(len(X)) % 3, "c": np.stack([odd, rows], 1) * 1.0}
labels["c"][rows == 1] = -1.0

def train(model, part, tasks, batch_size):
    y = {task: labels[task][part] for task in tasks}
    options = {**OPTIONS, "batch_size": batch_size}
    # Before all else: no step has made a metric's variables.
    logs = model.evaluate(X[part], y, batch_size, verbose=0, return_dict=True)
    history = model.fit(X[part], y, **options).history
    return {"logs": logs, "history": history, "weights": state(model)["weights"]}

begin = lambda: start_tasks(tasks, keras.optimizers.SGD(0.01))
model = begin()
with data_parallel(model):
    found = train(model, HALF, "a" if RANK else "ac", BATCH // 2)
expected = train(begin(), slice(None), "ac", BATCH)
assert any("precision" in name for name in expected["history"]), expected["history"]
found["steps"] = expected["steps"] = {"a": 3, "b": 3}
assert_same(found, expected)
"""

LOOP = """
from torch.nn.parallel import DistributedDataParallel

def train(model, network, rows):
    for _ in range(OPTIONS["epochs"]):
        for batch in np.array_split(rows, STEPS):
            images = torch.as_tensor(X[batch])
            labels = {task: torch.as_tensor(y[batch]) for task, y in Y.items()}
            model.zero_grad()
            loss = model.compute_loss(images, labels, network(images))
            loss.backward()
            gradients = [v.value.grad for v in model.trainable_variables]
            with torch.no_grad():
                model.optimizer.apply(gradients, model.trainable_variables)
    return state(model)

model, one = start(), start()
with data_parallel(model):
    found = train(model, DistributedDataParallel(model), HALF)
assert_same(found, train(one, one, np.arange(len(X))))
"""

REFUSED = """
model = keras_memvit.build(make_backbone(num_layers=1), {"a": 3 + RANK})
model.compile()
try:
    with data_parallel(model):
        raise SystemExit("not refused")
except ValueError as error:
    assert "in every process" in str(error), error
"""

RESUMED = """
class Dies(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if RANK == 1 and self.epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

folder, dies = sys.argv[1:]
model = start()
callbacks = [Dies()] * (dies == "dies") + [resume(f"{folder}/run.resume")]
with data_parallel(model):
    history = fit(model, HALF, BATCH // 2, callbacks=callbacks)["history"]
assert len(history["loss"]) == 1  # the epoch that was not whole
found = state(model)
alone = start()
fit(alone)
assert_same(found, state(alone))
"""


def run(*program, arguments=()):
    program = "\n".join([BEGIN, *program, 'print("same")'])
    return run_processes(program, "torch", *arguments)


@pytest.mark.large
def test_processes_train_as_one():
    for code, output in run(FIT, KEYS, LOOP, REFUSED, REGRESSION, MULTI_LABEL):
        assert code == 0 and output.endswith("same\n"), output


@pytest.mark.large
def test_a_killed_process_and_the_job_goes_on(tmp_path):
    (survivor, _), (killed, output) = run(RESUMED, arguments=[tmp_path, "dies"])
    assert killed == -9 and survivor not in (0, None), output
    assert (tmp_path / "run.resume").exists()
    for code, output in run(RESUMED, arguments=[tmp_path, "lives"]):
        assert code == 0 and output.endswith("same\n"), output
    assert not (tmp_path / "run.resume").exists()


def test_without_a_process_group_it_is_refused():
    refused = pytest.raises(ValueError, match="init_process_group")
    with refused, data_parallel(start()):
        pass
