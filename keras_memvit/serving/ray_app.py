"""A folder of task files on Ray Serve: replicas of what `keras-memvit serve` is."""

import dataclasses
import logging
import os
from typing import Any

import keras

from keras_memvit.serving.server.run import Settings
from keras_memvit.serving.server.run import make_application

SERVES = ("host", "port")  # what Ray Serve decides


@dataclasses.dataclass(frozen=True)
class Options:
    """What `build_app` takes beside the `Settings` of a server."""

    directory: str
    backbone: str
    image_size: int | None = None
    num_replicas: int | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0


def build_app(args: dict[str, Any]) -> Any:
    """The application of `serve run keras_memvit.serving.ray_app:build_app`.

    Every replica has the backbone, and looks at the folder of task files twice a
    second: a file that is put there is served by all. Paths and protocols are those of
    `keras-memvit serve`; `/metrics` is that of the replica which answers.

    Args:
        args: dict of numbers or text. `directory`, the task files' folder, which all
            machines share, and `backbone`, a preset name, preset folder or `hf://`
            handle, must be there. `num_replicas` is how many there are; without it
            Ray starts `min_replicas` to `max_replicas`, as requests need.
            `num_cpus` and `num_gpus` are a replica's, `image_size` is the images'
            side. What else `keras-memvit serve` takes has its names and units
            here: `max_batch`, `max_delay_ms`, `max_queue`, `max_images`, `max_pixels`,
            `max_body`, `timeout`, `capacity`, `token`. A token is better given as
            `$KERAS_MEMVIT_TOKEN` on the machines of the replicas.

    Returns:
        A Ray Serve application.

    Raises:
        ValueError: if an argument is missing, unknown or not as above.
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
    from pydantic import TypeAdapter
    from pydantic import ValidationError

    if "max_delay_ms" in args:
        args["max_delay"] = float(args.pop("max_delay_ms")) / 1000
    args["watch"] = True
    known = {kind: dataclasses.fields(kind) for kind in (Options, Settings)}
    known = {k: {f.name for f in fields} - set(SERVES) for k, fields in known.items()}
    unknown = set(args) - set.union(*known.values())
    if unknown:
        names = sorted(set.union(*known.values()) - {"watch", "max_delay"})
        raise ValueError(
            f"`args` must be of {[*names, 'max_delay_ms']}. Received: {sorted(unknown)}"
        )
    found = []
    for kind, names in known.items():
        own = {name: value for name, value in args.items() if name in names}
        try:
            found.append(TypeAdapter(kind).validate_python(own))
        except ValidationError as error:
            wrong = [f"{e['loc'][0]}: {e['msg']}" for e in error.errors()]
            raise ValueError(f"`args` are not as they must be: {wrong}") from None
    return found
