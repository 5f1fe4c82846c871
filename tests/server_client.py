"""A server in a thread, and who asks it."""

import base64
import http.client
import io
import json
import threading
import time

from conftest import make_backbone
from conftest import randomize
from PIL import Image

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.serving.server.run import Settings
from keras_memvit.serving.server.run import make_server

SPECS = [
    TaskSpec("birds", 3, class_names=["owl", "tit", "wren"]),
    TaskSpec("place", 4, readout="side"),
    TaskSpec("labels", 2, kind="multi_label"),
    TaskSpec("number", 2, kind="regression"),
]


def train(folder):
    """One model of `SPECS`, and a file of each task in a folder."""
    model = keras_memvit.build(make_backbone(), SPECS)
    for i, spec in enumerate(SPECS):
        randomize(model.task_layers[spec.name], seed=i)
        keras_memvit.save_task(model, spec.name, folder / f"{spec.name}.safetensors")
    return model


class Client:
    """Asks a server that runs in a thread."""

    def __init__(self, folder, backbone, **settings):
        self.server, self.end = make_server(
            folder, backbone, Settings(port=0, **settings)
        )
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        socket = self.server.servers[0].sockets[0]
        self.port = socket.getsockname()[1]

    def ask(self, *request, **options):
        """As the function `ask`."""
        return ask(self.port, *request, **options)

    def close(self):
        self.server.should_exit = True
        self.thread.join()
        self.end()


def ask(port, method, path, body=None, token=None):
    """A request to a server on loopback: `(status, JSON or text, headers)`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    kind = response.headers.get("content-type", "")
    text = json.loads(text) if "json" in kind else text.decode()
    return response.status, text, response.headers


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def base64_of(pixels):
    return base64.b64encode(png(pixels)).decode()
