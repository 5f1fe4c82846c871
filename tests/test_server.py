"""A real server on loopback: its protocols, and requests that are wrong."""

import concurrent.futures
import os

import numpy as np
import pytest
from server_client import SPECS
from server_client import Client
from server_client import base64_of
from server_client import png
from server_client import train

# KERAS_MEMVIT_REQUESTS=10000 is the long form.
REQUESTS = int(os.environ.get("KERAS_MEMVIT_REQUESTS", 120))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One model of all tasks, and a folder of their files."""
    folder = tmp_path_factory.mktemp("trained")
    return train(folder), folder


@pytest.fixture(scope="module")
def client(trained):
    """A server that no test changes."""
    client = Client(trained[1], trained[0].backbone)
    yield client
    client.close()


def test_a_picture_is_answered_by_every_task(client, trained, images):
    status, found, _ = client.ask("POST", "/predict", png(images[0]))
    expected = trained[0].predict(images[:1], verbose=0)
    assert status == 200
    assert set(found) == {spec.name for spec in SPECS}
    for name, outputs in found.items():
        logits = outputs.get("logits", outputs.get("values"))
        np.testing.assert_allclose(logits, expected[name][0], rtol=1e-4, atol=1e-4)
    birds = expected["birds"][0]
    assert found["birds"]["classes"][0] == ["owl", "tit", "wren"][birds.argmax()]
    chances = np.exp(birds) / np.exp(birds).sum()
    np.testing.assert_allclose(found["birds"]["probabilities"], chances, atol=1e-5)
    chances = 1 / (1 + np.exp(-expected["labels"][0]))
    np.testing.assert_allclose(found["labels"]["probabilities"], chances, atol=1e-5)


def test_tensorflow_servings_paths(client, trained, images):
    expected = trained[0].predict(images[:2], verbose=0)
    instances = [
        {"image_bytes": {"b64": base64_of(images[0])}},
        {"images": images[1].tolist()},
    ]
    path = "/v1/models/birds"
    status, found, _ = client.ask("POST", f"{path}:predict", {"instances": instances})
    assert status == 200
    logits = [row["logits"] for row in found["predictions"]]
    np.testing.assert_allclose(logits, expected["birds"], rtol=1e-4, atol=1e-4)
    inputs = {"image_bytes": [{"b64": base64_of(image)} for image in images[:2]]}
    path = "/v1/models/number/versions/1"
    status, found, _ = client.ask("POST", f"{path}:predict", {"inputs": inputs})
    np.testing.assert_allclose(
        found["outputs"], expected["number"], rtol=1e-4, atol=1e-4
    )
    instances = [{**instances[1], "tasks": ["birds", "place"]}]
    path = "/v1/models/tasks:predict"
    status, found, _ = client.ask("POST", path, {"instances": instances})
    (row,) = found["predictions"]
    np.testing.assert_allclose(
        row["place/logits"], expected["place"][1], rtol=1e-4, atol=1e-4
    )
    status, found, _ = client.ask("GET", "/v1/models/birds")
    assert found["model_version_status"][0]["state"] == "AVAILABLE"
    status, found, _ = client.ask("GET", "/v1/models/birds/metadata")
    signatures = found["metadata"]["signature_def"]["signature_def"]
    outputs = signatures["serving_default"]["outputs"]
    assert outputs["logits"]["tensor_shape"]["dim"][1]["size"] == "3"


def test_the_open_inference_protocol(client, trained, images):
    expected = trained[0].predict(images[:2], verbose=0)
    tensor = {"name": "images", "shape": [2, 32, 48, 3], "datatype": "UINT8"}
    tensor["data"] = images[:2].ravel().tolist()
    body = {"id": "7", "inputs": [tensor], "outputs": [{"name": "logits"}]}
    status, found, _ = client.ask("POST", "/v2/models/birds/infer", body)
    assert (status, found["id"], found["model_name"]) == (200, "7", "birds")
    (output,) = found["outputs"]
    assert (output["shape"], output["datatype"]) == ([2, 3], "FP32")
    np.testing.assert_allclose(
        np.reshape(output["data"], (2, 3)), expected["birds"], rtol=1e-4, atol=1e-4
    )
    encoded = {"name": "image_bytes", "shape": [1], "datatype": "BYTES"}
    encoded["data"] = [base64_of(images[0])]
    names = {"name": "task_names", "shape": [2], "datatype": "BYTES"}
    names["data"] = ["place", "number"]
    body = {"inputs": [encoded, names]}
    status, found, _ = client.ask("POST", "/v2/models/tasks/infer", body)
    by_name = {output["name"]: output["data"] for output in found["outputs"]}
    np.testing.assert_allclose(
        by_name["number/values"], expected["number"][0], rtol=1e-4, atol=1e-4
    )
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/birds/ready"):
        assert client.ask("GET", path)[0] == 200
    assert client.ask("GET", "/v2/models/birds")[1]["outputs"][0]["shape"] == [-1, 3]
    listed = client.ask("POST", "/v2/repository/index")[1]
    assert {"birds", "tasks"} <= {model["name"] for model in listed}


def instance(value):
    return {"instances": [value]}


@pytest.mark.parametrize(
    "path, body, status, words",
    [
        ("/v1/models/nobody:predict", instance({"b64": ""}), 404, "nobody"),
        ("/v1/models/birds:predict", b"{", 400, "no JSON"),
        ("/v1/models/birds:predict", b"[" * 100_000, 400, "no JSON"),
        ("/v1/models/birds:predict", [], 400, "JSON object"),
        ("/v1/models/birds:predict", {}, 400, "'instances' or 'inputs'"),
        ("/v1/models/birds:predict", {"instances": 3}, 400, "must be a list"),
        ("/v1/models/birds:predict", instance([[1]]), 400, "image 0 must be"),
        ("/v1/models/birds:predict", instance({"b64": "?"}), 400, "no base64"),
        ("/v1/models/birds:predict", instance({"b64": "aGk="}), 400, "cannot be read"),
        ("/v1/models/birds:predict", instance({"x": 1}), 400, "'images'"),
        ("/v1/models/tasks:predict", instance({"b64": "aGk="}), 400, "'tasks'"),
        ("/v2/models/birds/infer", {"inputs": [3]}, 400, "with names"),
        ("/v2/models/birds/infer", {"inputs": [{"name": "x"}]}, 400, "not \\['x'\\]"),
        ("/v2/models/birds/infer", {"inputs": []}, 400, "'image_bytes'"),
        ("/predict?tasks=nobody", png(np.zeros((4, 4, 3), "uint8")), 404, "nobody"),
        ("/predict", b"no picture", 400, "cannot be read"),
        ("/nowhere", b"", 404, ""),
    ],
)
def test_a_wrong_request_is_its_own_alone(client, path, body, status, words):
    found, answer, _ = client.ask("POST", path, body)
    assert found == status
    if words:
        with pytest.raises(ValueError, match=words):
            raise ValueError(answer["error"])


def test_without_a_token_no_file_comes_in(client, trained):
    file = (trained[1] / "birds.safetensors").read_bytes()
    assert client.ask("PUT", "/tasks/birds", file)[0] == 403
    assert client.ask("DELETE", "/tasks/birds")[0] == 403


def test_many_clients_get_their_own_answers(client, trained, images):
    """Micro-batches mix requests: each gets the answer to its own picture and tasks."""
    expected = trained[0].predict(images, verbose=0)
    names = [spec.name for spec in SPECS]

    def ask(i):
        image, name = i % len(images), names[i % len(names)]
        if i % 7 == 3:
            return client.ask("POST", "/predict?tasks=nobody", png(images[0]))[0] == 404
        path = f"/predict?tasks={name}"
        status, found, _ = client.ask("POST", path, png(images[image]))
        logits = found[name].get("logits", found[name].get("values"))
        want = expected[name][image]
        return status == 200 and np.allclose(logits, want, rtol=1e-4, atol=1e-4)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        right = list(pool.map(ask, range(REQUESTS)))
    assert all(right)
    text = client.ask("GET", "/metrics")[1]
    counted = [line for line in text.splitlines() if "batch_images_count" in line]
    assert float(counted[0].split()[-1]) < REQUESTS  # fewer passes than requests
