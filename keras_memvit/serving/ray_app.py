"""A folder of task files on Ray Serve: replicas of what `keras-memvit serve` is."""

import dataclasses
import logging
import os
from typing import Any

import keras

from keras_memvit.serving.server import run
from keras_memvit.serving.server.run import Settings
from keras_memvit.serving.server.run import make_application

SERVES = ("host", "port")  # what Ray Serve decides
INNER = ("watch", "max_delay")  # of `Settings`, and no argument
# The least that an argument may be, beside those of `Settings`.
LEAST = {
    "image_size": 1,
    "num_replicas": 1,
    "min_replicas": 0,
    "max_replicas": 1,
    "num_cpus": 0,
    "num_gpus": 0,
    "max_delay_ms": 0,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What `build_app` takes beside, or in other units than, a server's `Settings`."""

    directory: str
    backbone: str
    image_size: int | None = None
    num_replicas: int | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    max_delay_ms: float = 1000 * Settings.max_delay


def build_app(args: dict[str, Any]) -> Any:
    """The application of `serve run keras_memvit.serving.ray_app:build_app`.

    Every replica has the backbone, and looks at the folder of task files twice a
    second: a file that is put there is served by all. Paths and protocols are those of
    `keras-memvit serve`; `/metrics` is that of the replica which answers.

    Args:
        args: dict of numbers or text. `directory`, the task files' folder, which all
            machines share, and `backbone`, a preset name, preset folder or `hf://`
            handle, must be there. `num_replicas` is how many there are; without it
            Ray starts `min_replicas` to `max_replicas` (1 and 1), as requests need.
            `num_cpus` and `num_gpus` are a replica's, `image_size` is the images'
            side. What else `keras-memvit serve` takes has its names and units
            here: `max_batch`, `max_delay_ms`, `max_queue`, `max_images`, `max_pixels`,
            `max_body`, `timeout`, `capacity`, `token`. A token is better given as
            `$KERAS_MEMVIT_TOKEN` on the machines of the replicas.

    Returns:
        A Ray Serve application.

    Raises:
        ValueError: if an argument is missing, unknown, out of its range or not as
            above.
        ImportError: if Ray Serve is missing.

    Example:

    ```sh
    serve run keras_memvit.serving.ray_app:build_app directory=tasks \
        backbone=dinov2_small num_replicas=2
    ```
    """
    try:
        from ray import serve
    except ImportError as error:
        raise ImportError(
            f"Ray Serve needs {error.name}: pip install 'keras_memvit[ray]'"
        ) from error
    options, settings = _read(dict(args))
    folder = os.path.abspath(os.path.expanduser(options.directory))
    if not os.path.isdir(folder):
        raise ValueError(
            f"`directory` must be a folder of task files. Received: {folder}"
        )
    size = options.image_size
    shape = size and (size, size, 3)

    def application():  # in each replica
        logging.getLogger("keras_memvit.serve").setLevel(logging.INFO)
        token = settings.token or os.environ.get("KERAS_MEMVIT_TOKEN")
        own = dataclasses.replace(settings, token=token)
        return make_application(folder, options.backbone, own, shape)[0]

    deployment = serve.deployment(
        serve.ingress(application)(),
        name="tasks",
        # An image waits for others of its batch: requests must come in together.
        max_ongoing_requests=settings.max_queue,
        ray_actor_options={
            "num_cpus": options.num_cpus,
            "num_gpus": options.num_gpus,
            "runtime_env": {"env_vars": {"KERAS_BACKEND": keras.backend.backend()}},
        },
        **_replicas(options, settings),
    )
    return deployment.bind()


def _replicas(options, settings):
    """A number, or bounds between which the waiting requests decide."""
    if options.num_replicas is not None:
        return {"num_replicas": options.num_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": settings.max_batch,
        }
    }


def _read(args):
    """`Options` and `Settings` of arguments, which a command line gives as text."""
    known = {kind: dataclasses.fields(kind) for kind in (Options, Settings)}
    known = {kind: {field.name for field in found} for kind, found in known.items()}
    known[Settings] -= {*SERVES, *INNER}
    names = set.union(*known.values())
    if unknown := set(args) - names:
        raise ValueError(
            f"`args` must be of {sorted(names)}. Received: {sorted(unknown)}"
        )
    replicas = {name: args[name] for name in args if name.endswith("_replicas")}
    if replicas.get("num_replicas") is not None and len(replicas) > 1:
        raise ValueError(
            "`num_replicas` stands alone: `min_replicas` and `max_replicas` are bounds "
            f"of a number that Ray decides. Received: {replicas}"
        )
    found = [
        _parse(kind, {name: value for name, value in args.items() if name in own})
        for kind, own in known.items()
    ]
    _require_in_range(*found)
    options, settings = found
    backbone = os.path.abspath(os.path.expanduser(options.backbone))
    if os.path.isdir(backbone):  # a replica works in a folder of its own
        options = dataclasses.replace(options, backbone=backbone)
    delay = options.max_delay_ms / 1000
    return options, dataclasses.replace(settings, watch=True, max_delay=delay)


def _parse(kind, values):
    """A dataclass of numbers or text."""
    from pydantic import TypeAdapter
    from pydantic import ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        wrong = {e["loc"][0]: e["msg"] for e in error.errors()}
        given = {name: values.get(name) for name in wrong if name != "token"}
        wrong = [f"{name}: {message}" for name, message in wrong.items()]
        raise ValueError(
            f"`args` are not as they must be: {wrong}. Received: {given}"
        ) from None


def _require_in_range(options, settings):
    if settings.token == "":
        raise ValueError("`token` must not be empty. Received: ''")
    values = {**vars(options), **vars(settings)}
    for name, least in {**run.LEAST, **LEAST}.items():
        value = values[name]
        if value is not None and not value >= least:  # nor NaN
            raise ValueError(f"`{name}` must be at least {least}. Received: {value}")
    if options.min_replicas > options.max_replicas:
        raise ValueError(
            "`min_replicas` must be at most `max_replicas`. Received: "
            f"min_replicas={options.min_replicas}, max_replicas={options.max_replicas}"
        )
