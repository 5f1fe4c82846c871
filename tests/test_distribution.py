"""Many devices and processes train what one does, by the backends' own engines."""

import keras
import pytest
from processes import run_processes
from processes import run_python

from keras_memvit.recipes import data_parallel
from keras_memvit.recipes import layout_map

BACKEND = keras.backend.backend()
jax_only = pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution is JAX's")

MODEL_PARALLEL = """
import keras
import numpy as np
from conftest import make_backbone, snapshot
from together import X, assert_same, fit, start

import keras_memvit

one, expected = start().backbone, fit(start())
gated = lambda: make_backbone("swiglu")(X)
tokens = np.array(gated())
mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
layouts = keras_memvit.recipes.layout_map(mesh)
keras.distribution.set_distribution(
    keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch"))
model = start()
base = snapshot(model.backbone.weights)
assert_same(fit(model), expected)

for path, value in snapshot(model.backbone.weights).items():
    np.testing.assert_array_equal(value, base[path])
def devices_and_shares(variable):
    shards = variable.value.addressable_shards
    return len(shards), shards[0].data.size / variable.value.size

large = [v for v in model.backbone.weights if "block" in v.path and "kernel" in v.path]
assert len(large) == 6
assert {devices_and_shares(v) for v in large} == {(4, 0.5)}
tasks = [*model.trainable_variables, *model.optimizer.variables]
assert {devices_and_shares(v) for v in tasks} == {(4, 1.0)}

np.testing.assert_allclose(gated(), tokens, atol=1e-5)
logits = model.predict(X, verbose=0)["a"]
keras_memvit.save_task(model, "a", sys.argv[1])
keras.distribution.set_distribution(None)
saved = keras_memvit.load_task(one, sys.argv[1])
np.testing.assert_allclose(logits, saved.predict(X, verbose=0)["a"], atol=1e-5)
print("same")
"""

JAX_PROCESSES = """
import os
import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
import keras
from together import BATCH, HALF, RANK, assert_same, fit, start

import keras_memvit

address = "127.0.0.1:" + os.environ["MASTER_PORT"]
keras.distribution.initialize(address, num_processes=2, process_id=RANK)
with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
    model = start()
    found = fit(model, HALF, BATCH // 2)
    keras_memvit.save_task(model, "a", f"{sys.argv[1]}/{RANK}.safetensors")
assert_same(found, fit(start()))
print("same")
"""

WORKERS = """
import json
import os

ports = [f"127.0.0.1:{port}" for port in os.environ["PORTS"].split(",")]
task = {"type": "worker", "index": int(os.environ["RANK"])}
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": ports}, "task": task})
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
import numpy as np
from together import RANK, X, assert_same, fit, start

import keras_memvit

with strategy.scope():
    model = start()
    found = fit(model)
    logits = model.predict(X, batch_size=8, verbose=0)
keras_memvit.save_task(model, "a", f"{sys.argv[1]}/{RANK}.safetensors")
alone = start()
assert_same(found, fit(alone))
for task, values in alone.predict(X, verbose=0).items():
    np.testing.assert_allclose(logits[task], values, atol=1e-5)
print("same")
"""


def all_the_same(program, *arguments):
    """Whether every process says so at its end."""
    for code, output in run_processes(f"import sys\n{program}", BACKEND, *arguments):
        assert code == 0 and output.endswith("same\n"), output


def assert_equal_files(folder):
    one, two = ((folder / f"{rank}.safetensors").read_bytes() for rank in (0, 1))
    assert one == two


@pytest.mark.large
@jax_only
def test_a_backbone_split_over_devices_trains_as_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    program = f"import sys\n{MODEL_PARALLEL}"
    found = run_python(program, "jax", tmp_path / "a.safetensors")
    assert found.endswith("same\n")


@jax_only
def test_a_mesh_without_the_axis_is_refused():
    mesh = keras.distribution.DeviceMesh((1,), ["batch"])
    with pytest.raises(ValueError, match="axes .'batch'.. Received: axis='model'"):
        layout_map(mesh)


@pytest.mark.large
@jax_only
def test_processes_of_jax_train_as_one(tmp_path):
    all_the_same(JAX_PROCESSES, tmp_path)
    assert_equal_files(tmp_path)


@pytest.mark.large
@pytest.mark.skipif(BACKEND != "tensorflow", reason="`tf.distribute` is TensorFlow's")
def test_workers_of_tensorflow_train_as_one(tmp_path):
    all_the_same(WORKERS, tmp_path)
    assert_equal_files(tmp_path)


@pytest.mark.skipif(BACKEND == "torch", reason="torch has it: test_torch_processes.py")
def test_elsewhere_the_backend_has_its_own_engine():
    with (
        pytest.raises(ValueError, match=f"torch backend.*backend='{BACKEND}'"),
        data_parallel(None),
    ):
        pass
