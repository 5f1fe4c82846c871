"""A server's limits, and a folder of tasks that changes while it serves."""

import concurrent.futures
import shutil
import threading
import time

import numpy as np
import pytest
from server_client import Client
from server_client import base64_of
from server_client import png
from server_client import train

import keras_memvit

pytestmark = pytest.mark.backend_free  # `test_server.py` runs on every backend

TOKEN = "a secret"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One model of all tasks, and a folder of their files."""
    folder = tmp_path_factory.mktemp("trained")
    return train(folder), folder


@pytest.fixture
def serve(trained, tmp_path):
    """A function that starts a server on a copy of the folder; gives its `Client`."""
    clients = []

    def start(**settings):
        shutil.copytree(trained[1], tmp_path / "tasks", dirs_exist_ok=True)
        clients.append(Client(tmp_path / "tasks", trained[0].backbone, **settings))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def test_limits(serve, images):
    client = serve(max_body=2000, max_pixels=32 * 48, max_images=1)
    big = png(np.zeros((64, 48, 3), "uint8"))
    status, found, _ = client.ask("POST", "/predict?tasks=birds", big)
    assert status == 413 and "48 x 64 pixels" in found["error"]
    status, found, _ = client.ask("POST", "/predict", b"x" * 3000)
    assert status == 413 and "2000 bytes" in found["error"]
    small = base64_of(np.zeros((32, 48, 3), "uint8"))
    body = {"instances": [{"b64": small}] * 2}
    status, found, _ = client.ask("POST", "/v1/models/birds:predict", body)
    assert status == 413 and "2 images" in found["error"]


def test_who_finds_no_room_is_told_to_come_again(serve, images):
    client = serve(max_queue=1, max_batch=1, timeout=0.5)
    bank = client.server.config.app.state.bank
    holding, original = threading.Event(), bank.predict

    def slow(*args, **kwargs):
        holding.wait(20)
        return original(*args, **kwargs)

    bank.predict = slow
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [
            pool.submit(client.ask, "POST", "/predict?tasks=birds", png(images[0]))
            for _ in range(6)
        ]
        found = [future.result() for future in asked]
    holding.set()
    reasons = {answer["error"] for status, answer, _ in found if status == 503}
    assert {status for status, *_ in found} == {503}
    assert "no answer within 0.5 s" in reasons
    assert "1 images wait already" in reasons
    assert all(headers["Retry-After"] == "1" for *_, headers in found)
    bank.predict = original
    until = time.monotonic() + 20
    while client.ask("POST", "/predict?tasks=birds", png(images[0]))[0] != 200:
        assert time.monotonic() < until


def test_a_folder_that_changes(serve, trained, images, tmp_path):
    client = serve(watch=True)
    model, folder = trained[0], tmp_path / "tasks"

    def wait_for(status, task):
        until = time.monotonic() + 20
        while client.ask("GET", f"/v2/models/{task}/ready")[0] != status:
            if time.monotonic() > until:
                raise TimeoutError(f"{task} is not {status}")
            time.sleep(0.05)

    more = keras_memvit.extend(model, {"late": 2})
    keras_memvit.save_task(more, "late", folder / "late.safetensors")
    wait_for(200, "late")
    status, found, _ = client.ask("POST", "/predict?tasks=late", png(images[0]))
    expected = more.predict(images[:1], verbose=0)["late"][0]
    np.testing.assert_allclose(found["late"]["logits"], expected, rtol=1e-4, atol=1e-4)
    other = keras_memvit.build(model.backbone, {"late": 4})
    keras_memvit.save_task(other, "late", folder / "late.safetensors")
    expected = other.predict(images[:1], verbose=0)["late"][0]
    until = time.monotonic() + 20
    while len(found["late"]["logits"]) != 4 and time.monotonic() < until:
        found = client.ask("POST", "/predict?tasks=late", png(images[0]))[1]
    np.testing.assert_allclose(found["late"]["logits"], expected, rtol=1e-4, atol=1e-4)
    (folder / "late.safetensors").unlink()
    wait_for(404, "late")
    data = bytearray((folder / "birds.safetensors").read_bytes())
    data[-3] ^= 255
    (folder / "torn.safetensors").write_bytes(data[:500])
    (folder / "birds.safetensors").write_bytes(data)
    until = time.monotonic() + 20
    while client.ask("POST", "/predict?tasks=birds", png(images[0]))[0] != 404:
        if time.monotonic() > until:
            raise TimeoutError("the damaged file is still served")
    assert client.ask("POST", "/predict?tasks=place", png(images[0]))[0] == 200


def test_tasks_beyond_capacity_leave_and_come_back(serve, trained, images):
    client = serve(capacity=2)
    expected = trained[0].predict(images[:1], verbose=0)
    for name in ("birds", "place", "labels", "birds", "number"):
        found = client.ask("POST", f"/predict?tasks={name}", png(images[0]))[1][name]
        logits = found.get("logits", found.get("values"))
        np.testing.assert_allclose(logits, expected[name][0], rtol=1e-4, atol=1e-4)
    assert set(client.server.config.app.state.bank.specs) == {"birds", "number"}
    path = "/predict?tasks=birds,place,labels"
    status, found, _ = client.ask("POST", path, png(images[0]))
    assert status == 413 and "3 tasks" in found["error"]
    text = client.ask("GET", "/metrics")[1]
    assert 'route="/predict",status="200"' in text
    assert "keras_memvit_tasks 4.0" in text
    assert "keras_memvit_tasks_loaded 2.0" in text


def test_a_token_guards_all_but_health_and_lets_files_in(
    serve, trained, images, tmp_path
):
    client = serve(token=TOKEN)
    assert client.ask("GET", "/v2/health/ready")[0] == 200
    assert client.ask("GET", "/tasks")[0] == 401
    assert client.ask("GET", "/tasks", token="another")[0] == 401
    assert client.ask("GET", "/tasks", token=TOKEN)[0] == 200
    file = (trained[1] / "birds.safetensors").read_bytes()
    assert client.ask("DELETE", "/tasks/birds", token=TOKEN)[0] == 200
    assert client.ask("GET", "/v2/models/birds", token=TOKEN)[0] == 404
    for name, data, words in [
        ("birds", file[:-5], "safetensors"),
        ("other", file, "of the task 'birds'"),
        ("..x", file, "letters, digits"),
    ]:
        status, found, _ = client.ask("PUT", f"/tasks/{name}", data, token=TOKEN)
        assert status == 400 and words in found["error"]
    assert sorted(p.name for p in (tmp_path / "tasks").iterdir()) == [
        "labels.safetensors",
        "number.safetensors",
        "place.safetensors",
    ]
    assert client.ask("PUT", "/tasks/birds", file, token=TOKEN)[0] == 200
    assert client.ask("GET", "/v2/models/birds", token=TOKEN)[0] == 200
