"""`keras-memvit serve`."""

import logging
import os
import pathlib
from typing import Annotated

import typer

from keras_memvit.cli import console
from keras_memvit.cli.options import Backbone
from keras_memvit.cli.options import ImageSize
from keras_memvit.cli.task_files import find_backbone
from keras_memvit.serving.server.run import LEAST
from keras_memvit.serving.server.run import Settings
from keras_memvit.tasks.task_file import SUFFIX


def _number(name, *flags, **options):
    """An option for a number of `Settings`, which is bounded as there."""
    return typer.Option(*flags, min=LEAST[name], **options)


Folder = Annotated[
    pathlib.Path, typer.Argument(metavar="DIR", help="A folder of task files.")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Take in new files, let go removed ones.")
]
Host = Annotated[
    str, typer.Option(help="Address; others than this machine reach 0.0.0.0.")
]
Port = Annotated[int, _number("port", max=65535, help="0 is any free one.")]
MaxBatch = Annotated[int, _number("max_batch", help="Images a pass of the backbone.")]
MaxDelay = Annotated[
    float,
    _number("max_delay", "--max-delay-ms", help="What an image waits for others."),
]
MaxQueue = Annotated[int, _number("max_queue", help="Images that may wait.")]
MaxPixels = Annotated[int, _number("max_pixels", help="Pixels of an encoded image.")]
MaxBody = Annotated[int, _number("max_body", help="Bytes of a request.")]
Timeout = Annotated[float, _number("timeout", help="Seconds a request may take.")]
Capacity = Annotated[int, _number("capacity", help="Tasks in memory at once.")]
TokenFile = Annotated[
    pathlib.Path | None,
    typer.Option(
        help="File of a bearer token that requests need; or $KERAS_MEMVIT_TOKEN. "
        "With one, task files may be put and deleted at /tasks/NAME."
    ),
]
TOKEN = "KERAS_MEMVIT_TOKEN"


@console.verb
def serve(
    folder: Folder,
    backbone: Backbone = None,
    watch: Watch = False,
    host: Host = Settings.host,
    port: Port = Settings.port,
    max_batch: MaxBatch = Settings.max_batch,
    max_delay: MaxDelay = 1000 * Settings.max_delay,
    max_queue: MaxQueue = Settings.max_queue,
    max_pixels: MaxPixels = Settings.max_pixels,
    max_body: MaxBody = Settings.max_body,
    timeout: Timeout = Settings.timeout,
    capacity: Capacity = Settings.capacity,
    token_file: TokenFile = None,
    image_size: ImageSize = None,
    debug: console.Debug = False,
) -> None:
    """Serve a folder of task files over HTTP, in micro-batches across tasks.

    The Open Inference Protocol at /v2, TensorFlow Serving's REST paths at /v1, a page
    to drop a picture on at /, Prometheus metrics at /metrics. Every task is a model.

    Example: keras-memvit serve tasks/ --backbone dinov2_small --watch --port 8501
    """
    from keras_memvit.serving.server import serve as run

    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("keras_memvit.serve").setLevel(logging.INFO)
    token = token_file.read_text().strip() if token_file else os.environ.get(TOKEN)
    if token == "":
        raise ValueError(f"--token-file must hold a token. Received: {token_file}")
    files = sorted(folder.glob(f"*{SUFFIX}"))
    backbone = find_backbone(backbone, files or [folder])
    settings = Settings(
        host=host,
        port=port,
        max_batch=max_batch,
        max_delay=max_delay / 1000,
        max_queue=max_queue,
        max_pixels=max_pixels,
        max_body=max_body,
        timeout=timeout,
        capacity=capacity,
        watch=watch,
        token=token,
    )
    shape = image_size and (image_size, image_size, 3)
    run(folder, backbone, settings, image_shape=shape, announce=console.note)
