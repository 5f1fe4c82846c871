"""What several devices or processes train, and how it compares with one."""

import os

import keras
import numpy as np
from conftest import snapshot
from conftest import start_tasks
from test_joint_training import LABELS
from test_joint_training import TASKS

BATCH, STEPS = 8, 2
RANK = int(os.environ.get("RANK", 0))
NONE = np.full(BATCH, -1)
# The first batch has labels of "a", and the second half of it fewer; the second batch
# has some of "b", all of them in its first half.
A = np.concatenate([np.where(np.arange(BATCH) == 6, -1, LABELS["a"]), NONE])
B = np.concatenate([NONE, np.where(np.arange(BATCH) < 4, LABELS["b"], -1)])
Y = {"a": A, "b": B}
X = np.random.default_rng(1).integers(0, 256, (16, 32, 48, 3), dtype="uint8")
# This process's half of each batch.
HALF = np.arange(len(X)).reshape(STEPS, 2, -1)[:, RANK].ravel()
OPTIONS = {"epochs": 3, "shuffle": False, "verbose": 0}


def start(optimizer=None):
    """A compiled model of the tasks "a" and "b", whose weights decay."""
    optimizer = optimizer or keras.optimizers.AdamW(
        0.01, weight_decay=0.1, global_clipnorm=0.1
    )
    return start_tasks(TASKS, optimizer)


def fit(model, part=slice(None), batch_size=BATCH, **options):
    """Trains on a part of the examples: weights, losses and steps by task."""
    x, y = X[part], {name: labels[part] for name, labels in Y.items()}
    options = {"batch_size": batch_size, **OPTIONS, **options}
    history = model.fit(x, y, **options).history
    logs = model.evaluate(x, y, batch_size=batch_size, return_dict=True, verbose=0)
    return {"history": history, "logs": logs, **state(model)}


def state(model):
    """The tasks' weights and how many steps their optimisers have made."""
    optimizers = model.optimizer.inner.items()
    steps = {task: int(optimizer.iterations.numpy()) for task, optimizer in optimizers}
    return {"weights": snapshot(model.trainable_variables), "steps": steps}


def assert_same(found, expected):
    """Whether two states are the same, to 1e-5; a task steps where it has labels."""
    assert found.keys() == expected.keys()
    for part in found:
        for name, value in expected[part].items():
            message = f"{part} {name}"
            np.testing.assert_allclose(
                found[part][name], value, rtol=1e-5, atol=1e-5, err_msg=message
            )
    assert found["steps"] == {"a": OPTIONS["epochs"], "b": OPTIONS["epochs"]}
