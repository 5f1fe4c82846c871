"""`tf.distribute`: two replicas report and train what one device does."""

import keras
import pytest
from processes import run_python

REPLICAS = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [half, half])
import keras
import numpy as np
from conftest import snapshot, start_tasks
from test_early_stopping import Scripted
from test_task_optimizer import LABELS, TASKS, scaled, sgd

from keras_memvit.recipes import TaskEarlyStopping as stop

images = np.random.default_rng(1).integers(0, 256, (8, 32, 48, 3), dtype="uint8")
mirrored = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
# The second replica has no label of "b", and fewer of "a".
uneven = {
    "a": np.where(np.arange(8) == 6, -1, LABELS["a"]),
    "b": np.where(np.arange(8) < 4, LABELS["b"], -1),
}
adamw = lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=0.1)


def stopping():
    losses = {"a": [1, 2, 3, 4], "b": [4, 3, 2, 1]}
    return [Scripted(losses), stop(restore_best_weights=True)]


def equal(make, labels=uneven, batches=1, callbacks=list, **arguments):
    found = []
    for strategy in (mirrored, tf.distribute.get_strategy):
        with strategy().scope():
            model = start_tasks(TASKS, make(), **arguments)
        x = np.concatenate([images] * batches)
        y = {k: np.concatenate(v) if batches > 1 else v for k, v in labels.items()}
        options = {"batch_size": 8, "verbose": 0, "callbacks": callbacks()}
        history = model.fit(x, y, epochs=4, shuffle=False, **options).history
        logs = model.evaluate(x, y, batch_size=8, return_dict=True, verbose=0)
        found.append((snapshot(model.trainable_variables), history, logs))
        steps = {k: int(o.iterations.numpy()) for k, o in model.optimizer.inner.items()}
        found[-1] += (steps, int(model.optimizer.iterations.numpy()))
    (weights, history, logs, *steps), (expected, *other) = found
    for path, value in expected.items():
        np.testing.assert_allclose(weights[path], value, atol=1e-6, rtol=1e-5)
    for name, values in other[0].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    for name, value in other[1].items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5, err_msg=name)
    assert steps == other[2:], (steps, other[2:])
    return steps
"""

CASES = {
    "recipe": "equal(lambda: 'auto', metrics=['accuracy', keras.metrics.AUC()])",
    "scaled": "equal(scaled, LABELS)",
    "stopped": (
        "assert equal(lambda: sgd(use_ema=True), callbacks=stopping)[0]['a'] == 2"
    ),
    "no label in some batches": (
        "none = np.full(8, -1)\n"
        "labels = {'a': [LABELS['a'], none], 'b': [none, uneven['b']]}\n"
        "assert equal(adamw, labels, batches=2)[0] == {'a': 4, 'b': 4}"
    ),
}


@pytest.mark.large
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="`tf.distribute` is TensorFlow's"
)
def test_two_replicas_train_as_one():
    program = [REPLICAS, *CASES.values(), 'print("equal")']
    assert run_python("\n".join(program), "tensorflow").endswith("equal\n")
