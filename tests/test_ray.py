"""Bulk work and serving on a Ray of this machine: right, whole, and going on."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from bulk_jobs import OPTIONS
from bulk_jobs import RESULT
from bulk_jobs import make_model
from conftest import randomize
from PIL import Image
from processes import TESTS
from server_client import ask
from server_client import base64_of

import keras_memvit
from keras_memvit.data import answers
from keras_memvit.data.pictures import read_image

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = [pytest.mark.backend_free, pytest.mark.large]

NUM_IMAGES = 60
KILLED = 300  # seconds, after which a job that should have gone on has not


@pytest.fixture
def folder(tmp_path):
    """Class folders, with one damaged image and one file that is none."""
    rng = np.random.default_rng(0)
    for i in range(NUM_IMAGES):
        file = tmp_path / "photos" / "ab"[i % 2] / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Large enough that a job lasts until it is killed.
        pixels = rng.integers(0, 256, (400, 600, 3), dtype="uint8")
        Image.fromarray(pixels).save(file)
    (tmp_path / "photos" / "a" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "b" / "notes.txt").write_text("words")
    return tmp_path


def pictures(folder):
    """The whole images, in order, as the model takes them."""
    files = sorted((folder / "photos").rglob("[0-9]*.png"))
    found = [keras_memvit.data.crops.resize(read_image(f), (32, 48)) for f in files]
    return list(map(str, files)), np.stack(found)


@pytest.fixture
def start():
    """Starts `bulk_jobs.py`; what still runs at the end is killed."""
    jobs = []
    root = pathlib.Path(keras_memvit.__file__).parents[1]
    paths = {"KERAS_BACKEND": "torch", "PYTHONPATH": f"{root}:{TESTS}"}

    def start(verb, folder):
        job = subprocess.Popen(
            [sys.executable, TESTS / "bulk_jobs.py", verb, folder],
            env={**os.environ, **paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def finish(job):
    output, errors = job.communicate(timeout=KILLED)
    assert job.returncode == 0, errors[-5000:]
    (line,) = [line for line in output.splitlines() if line.startswith(RESULT)]
    return json.loads(line.removeprefix(RESULT))


def wait_for(condition, job):
    until = time.monotonic() + KILLED
    while not (found := condition()):
        assert time.monotonic() < until and job.poll() is None, "it did not come so far"
        time.sleep(0.01)
    return found


def descendants(pid):
    """`(pid, command line)` of all processes below one."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        try:
            line = pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
            yield int(child), line.replace(b"\0", b" ").decode()
            yield from descendants(child)
        except FileNotFoundError:  # ended meanwhile
            continue


def parts(folder, pattern):
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


def check_answers(folder, broken):
    """Each whole image has the answers of `predict` once, the rest a reason."""
    names, pixels = pictures(folder)
    model = make_model()
    specs = {spec.name: spec for spec in model.specs}
    found = model.predict(pixels, verbose=0)
    expected = list(answers.rows_of(names, found, specs, OPTIONS["top"]))
    rows = parquet.read_table(folder / "out" / "answers").to_pylist()
    errors = [row for row in rows if row["error"] is not None]
    rows = {(r["image"], r["task"], r["rank"]): r for r in rows if r["error"] is None}
    assert len(rows) == len(expected) == 5 * NUM_IMAGES
    for row in expected:
        own = rows[row["image"], row["task"], row["rank"]]
        assert own["answer"] == row["answer"]
        for key in {"probability", "value"} & set(row):
            np.testing.assert_allclose(own[key], row[key], rtol=1e-4, atol=1e-5)
    damaged = str(folder / "photos" / "a" / "broken.png")
    assert [row["image"] for row in errors] == [damaged]
    reasons = dict(broken)
    assert set(reasons) == {damaged, str(folder / "photos" / "b" / "notes.txt")}
    assert "no whole image" in reasons[damaged]
    lines = (folder / "out" / "broken.jsonl").read_text().splitlines()
    assert {row["image"]: row["error"] for row in map(json.loads, lines)} == reasons


def check_store(folder):
    store = keras_memvit.StateStore(folder / "out")
    _, pixels = pictures(folder)
    labels = np.repeat([0, 1], NUM_IMAGES // 2)
    alone = keras_memvit.precompute(
        make_model(), (pixels, labels), folder / "alone", dtype="float32", verbose=0
    )
    every = range(NUM_IMAGES)
    np.testing.assert_allclose(store.rows(every), alone.rows(every), atol=1e-4)
    np.testing.assert_array_equal(store.targets["labels"], labels)


# Of each verb: what checks its end, the files that are there once a part is whole (a
# shard of a store counts with its card), and its workers' name.
CHECKS = {
    "predict": (check_answers, "out/answers/*.parquet", "Answerer"),
    "precompute": (
        lambda folder, _: check_store(folder),
        "out/view*.json",
        "_precompute",
    ),
}


@pytest.mark.parametrize("verb", CHECKS)
def test_a_killed_job_goes_on_and_a_killed_worker_is_replaced(verb, folder, start):
    check, pattern, name = CHECKS[verb]
    job = start(verb, folder)
    wait_for(lambda: len(parts(folder, pattern)) > 2, job)
    job.kill()
    job.communicate()
    before = parts(folder, pattern)
    assert len(before) < NUM_IMAGES // 4
    job = start(verb, folder)

    def workers_at_work():
        grown = len(parts(folder, pattern)) > len(before)
        return grown and [pid for pid, line in descendants(job.pid) if name in line]

    os.kill(wait_for(workers_at_work, job)[0], signal.SIGKILL)
    assert len(parts(folder, pattern)) < NUM_IMAGES // 4  # it was killed at its work
    check(folder, finish(job))
    after = parts(folder, pattern)
    assert before.items() <= after.items()  # what was done is not done again


def test_the_deployment_file_is_an_application():
    yaml = pytest.importorskip("yaml")
    from ray.serve.schema import ServeDeploySchema

    from keras_memvit.serving.ray_app import _read

    root = pathlib.Path(__file__).resolve().parents[1]
    file = root / "examples" / "deploy" / "ray_serve.yaml"
    (application,) = ServeDeploySchema(**yaml.safe_load(file.read_text())).applications
    assert application.import_path == "keras_memvit.serving.ray_app:build_app"
    options, settings = _read(dict(application.args))
    assert (options.max_replicas, settings.max_batch, settings.watch) == (8, 16, True)
    with pytest.raises(ValueError, match=r"Received: \['max_bath'\]"):
        _read(application.args | {"max_bath": 1})
    with pytest.raises(ValueError, match="num_cpus: Input should be a valid number"):
        _read(application.args | {"num_cpus": "many"})


def test_the_docstrings_examples_run(folder, start):
    for file in sorted((folder / "photos").rglob("[0-9]*.png"))[8:-8]:
        file.unlink()
    assert finish(start("examples", folder)) == [2, 16]


def test_ray_serve_answers_and_takes_new_files(folder, images, start):
    keras_hub = pytest.importorskip("keras_hub")
    shape = {"image_shape": (32, 32, 3), "patch_size": 16, "num_layers": 1}
    source = keras_hub.models.ViTBackbone(
        num_heads=2, hidden_dim=16, mlp_dim=32, **shape
    )
    randomize(source).save_to_preset(str(folder / "preset"))
    model = keras_memvit.build(source, {"birds": 3, "late": 4})
    images = images[:2, :, :32]
    expected = model.predict(images, verbose=0)
    (folder / "tasks").mkdir()

    def save(name):
        path = folder / "tasks" / f"{name}.safetensors"
        keras_memvit.save_task(model, name, path)

    save("birds")
    job = start("serve", folder)
    port = next((line for line in job.stdout if line.strip().isdigit()), None)
    assert port, job.communicate()[1][-5000:]
    port = int(port)
    replicas = [line for _, line in descendants(job.pid) if "ServeReplica" in line]
    assert len(replicas) == 2

    def infer(name):
        data = [base64_of(image) for image in images]
        tensor = {"name": "image_bytes", "shape": [2], "datatype": "BYTES"}
        body = {"inputs": [tensor | {"data": data}], "outputs": [{"name": "logits"}]}
        status, found, _ = ask(port, "POST", f"/v2/models/{name}/infer", body)
        return status == 200 and found["outputs"][0]["data"]

    def both_answer(name):
        """Each of 32 requests goes to one of the two at random."""
        for _ in range(32):
            found = infer(name)
            if found is False:
                return False
            np.testing.assert_allclose(
                np.reshape(found, (2, -1)), expected[name], rtol=1e-4, atol=1e-4
            )
        return True

    assert both_answer("birds")
    assert not infer("late")
    save("late")
    wait_for(lambda: both_answer("late"), job)
    job.communicate("", timeout=KILLED)
    assert job.returncode == 0
