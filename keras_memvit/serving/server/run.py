"""`serve`: a folder of task files over HTTP, until told to stop."""

import dataclasses
import logging
import socket
import threading

from keras_memvit.serving.bank import TaskBank

LOG = logging.getLogger("keras_memvit.serve")
POLL = 0.5  # seconds between looks at the folder


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a server serves.

    Attributes:
        host, port: where it listens; port 0 is any free one.
        max_batch: int. Images a pass.
        max_delay: float. Seconds that an image waits for others.
        max_queue: int. Images that may wait.
        max_images: int. Images a request.
        max_pixels: int. Pixels of an encoded image.
        max_body: int. Bytes of a request.
        timeout: float. Seconds that a request may take.
        capacity: int. Tasks in memory.
        watch: bool. Whether the folder is looked at while it serves.
        token: optional str, the bearer token that requests need.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    max_batch: int = 16
    max_delay: float = 0.005
    max_queue: int = 256
    max_images: int = 64
    max_pixels: int = 50_000_000
    max_body: int = 32 << 20
    timeout: float = 30.0
    capacity: int = 1024
    watch: bool = False
    token: str | None = None


# The least that a number of `Settings` may be.
LEAST = {
    "port": 0,
    "max_batch": 1,
    "max_delay": 0,
    "max_queue": 1,
    "max_images": 1,
    "max_pixels": 1,
    "max_body": 1,
    "timeout": 0.1,
    "capacity": 1,
}


def make_server(folder, backbone, settings, image_shape=None):
    """A uvicorn server, and a function that ends what works beside it.

    Args:
        folder, backbone, settings, image_shape: as of `make_application`.
    """
    app, end = make_application(folder, backbone, settings, image_shape)
    import uvicorn

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=int(settings.timeout) + 1,
    )
    return uvicorn.Server(config), end


def make_application(folder, backbone, settings, image_shape=None):
    """A FastAPI application, and a function that ends what works beside it.

    Args:
        folder: the task files' folder.
        backbone: anything that `build` takes as one.
        settings: a `Settings`; who runs the application decides on host and port.
        image_shape: optional `(height, width, 3)`, as of `build`.

    Raises:
        ImportError: if FastAPI, uvicorn or prometheus-client is missing.
    """
    try:
        import uvicorn  # noqa: F401

        from keras_memvit.serving.server.app import make_app
        from keras_memvit.serving.server.metrics import Metrics
    except ImportError as error:
        raise ImportError(
            f"Serving needs {error.name}: pip install 'keras_memvit[serve]'"
        ) from error
    from keras_memvit.serving.server.batcher import Batcher
    from keras_memvit.serving.server.service import Service
    from keras_memvit.serving.server.task_folder import TaskFolder

    bank = TaskBank(
        backbone,
        capacity=settings.capacity,
        max_classes=1000,
        max_memory_tokens=20,
        readouts=("class_token", "deep", "side", "synthesised"),
        image_shape=image_shape,
    )
    tasks = TaskFolder(folder, bank)
    metrics = Metrics(bank, tasks)
    options = (settings.max_batch, settings.max_delay, settings.max_queue)
    batcher = Batcher(tasks, *options, observe=metrics.observe_batch)
    metrics.watch(batcher)
    stopped = threading.Event()
    if settings.watch:
        threading.Thread(target=_watch, args=(tasks, stopped), daemon=True).start()

    def end():
        stopped.set()
        batcher.stop()

    return make_app(Service(tasks, batcher, settings), metrics), end


def serve(folder, backbone, settings, image_shape=None, announce=print):
    """Serves until SIGINT or SIGTERM; what was accepted is answered before it ends.

    Args:
        folder, backbone, settings, image_shape: as of `make_server`.
        announce: function that takes the line that says where it listens.
    """
    server, end = make_server(folder, backbone, settings, image_shape)
    address = socket.create_server((settings.host, settings.port))
    host, port = address.getsockname()[:2]
    announce(f"http://{host}:{port} serves {folder}")
    try:
        server.run(sockets=[address])
    finally:
        end()


def _watch(tasks, stopped):
    while not stopped.wait(POLL):
        try:
            tasks.refresh()
        except Exception:
            LOG.exception("the folder could not be looked at")
