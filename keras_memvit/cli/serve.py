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
from keras_memvit.tasks.task_file import SUFFIX

Folder = Annotated[
    pathlib.Path, typer.Argument(metavar="DIR", help="A folder of task files.")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Take in new files, let go removed ones.")
]
Host = Annotated[
    str, typer.Option(help="Address; others than this machine reach 0.0.0.0.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")]
MaxBatch = Annotated[int, typer.Option(min=1, help="Images a pass of the backbone.")]
MaxDelay = Annotated[
    float, typer.Option("--max-delay-ms", min=0, help="What an image waits for others.")
]
MaxQueue = Annotated[int, typer.Option(min=1, help="Images that may wait.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Pixels of an encoded image.")]
MaxBody = Annotated[int, typer.Option(min=1, help="Bytes of a request.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds a request may take.")]
Capacity = Annotated[int, typer.Option(min=1, help="Tasks in memory at once.")]
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
    host: Host = "127.0.0.1",
    port: Port = 8501,
    max_batch: MaxBatch = 16,
    max_delay: MaxDelay = 5.0,
    max_queue: MaxQueue = 256,
    max_pixels: MaxPixels = 50_000_000,
    max_body: MaxBody = 32 << 20,
    timeout: Timeout = 30.0,
    capacity: Capacity = 1024,
    token_file: TokenFile = None,
    image_size: ImageSize = None,
    debug: console.Debug = False,
) -> None:
    """Serve a folder of task files over HTTP, in micro-batches across tasks.

    The Open Inference Protocol at /v2, TensorFlow Serving's REST paths at /v1, a page
    to drop a picture on at /, Prometheus metrics at /metrics. Every task is a model.

    Example: keras-memvit serve tasks/ --backbone dinov2_small --watch --port 8501
    """
    from keras_memvit.serving.server import Settings
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
