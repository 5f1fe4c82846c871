"""`data.precompute_folder`: one store, filled by the workers of a cluster."""

import os
import pathlib
import warnings

import keras

from keras_memvit.data.bulk.cluster import connect
from keras_memvit.data.bulk.cluster import count_workers
from keras_memvit.data.bulk.cluster import worker_options
from keras_memvit.data.bulk.part_batches import PartBatches
from keras_memvit.data.bulk.store_images import claim_images
from keras_memvit.data.bulk.verdicts import Verdicts
from keras_memvit.data.class_folders import ImageFile
from keras_memvit.data.class_folders import from_folder
from keras_memvit.data.image_files import FileTree
from keras_memvit.data.image_files import list_folder
from keras_memvit.data.image_files import printable
from keras_memvit.files.leftovers import scratch_folder
from keras_memvit.models.load_model import load_model
from keras_memvit.states.precompute import backbone_of
from keras_memvit.states.precompute import precompute
from keras_memvit.states.store import StateStore
from keras_memvit.states.store_card import DTYPES
from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import common_resizing

LOOKED_AT = "images.jsonl"
RETRIES = 5  # of a worker that died, each of which goes on


def precompute_folder(
    source: str | os.PathLike,
    model: keras.Model,
    path: str | os.PathLike,
    *,
    dtype: str = "bfloat16",
    batch_size: int = 32,
    num_workers: int | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> StateStore:
    """Fills one store of frozen states by several workers, on Ray.

    As `precompute`, of a folder: each worker writes shards of its own, whole. Called
    again it goes on where it stopped, with any number of workers; one that dies is
    started again and goes on as well. `list.jsonl` in the store's folder keeps which
    images it is of, by their paths in `source`. Labels are the classes' numbers in the
    order of their names. On a cluster, all machines share the file system of both
    folders.

    Args:
        source: a folder of class folders, as of `data.load` with
            `validation_split=0`, or one of images, which have no labels then.
        model: a `MemoryViT` with masked attention, whose tasks say how images are
            resized, or a `ViTBackbone`, bilinearly then.
        path: folder of the store.
        dtype: `"bfloat16"` (default), `"float32"` or `"int8"`, as of `precompute`.
        batch_size: int. Images a step. Defaults to `32`.
        num_workers: optional int. Defaults to as many as the cluster has room for.
        num_cpus: float. CPUs of a worker, which decodes in as many threads. Defaults
            to `1`.
        num_gpus: float. GPUs of a worker. Defaults to `0`.

    Returns:
        A `StateStore`. What could not be read is named in a warning, and in
        `images.jsonl` in its folder.

    Raises:
        ValueError: if an argument is not as above, the folder has no images or not
            those that it had, one is damaged meanwhile, or `path` holds the store of
            another backbone.
        ImportError: if Ray is missing.

    Example:

    ```python
    store = keras_memvit.data.precompute_folder("photos", backbone, "states")
    digits.fit(store, epochs=5)
    ```
    """
    source = pathlib.Path(os.path.abspath(os.path.expanduser(source)))
    if not source.is_dir():
        raise ValueError(f"`source` must be a folder of images. Received: {source}")
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {list(DTYPES)}. Received: {dtype!r}")
    backbone = backbone_of(model)
    specs = getattr(model, "specs", None)
    resizing = common_resizing(specs) if specs else DEFAULT
    path = pathlib.Path(os.path.abspath(os.path.expanduser(path)))
    path.mkdir(parents=True, exist_ok=True)
    ray = connect()
    workers = count_workers(ray, num_workers, num_cpus, num_gpus)
    verdicts = Verdicts(path / LOOKED_AT, ray, worker_options(num_cpus, 0))
    examples, skipped = _examples(source, verdicts)
    if skipped:
        _warn_of(skipped, path)
    claim_images(path, source, examples, resizing)
    how = (backbone.image_shape[:2], resizing)
    data = (examples, *how, batch_size, max(int(num_cpus), 1))
    with scratch_folder(path) as scratch:
        file = scratch / "backbone.keras"
        backbone.save(file)
        options = worker_options(num_cpus, num_gpus)
        _run(ray, (str(file), data, str(path), dtype), workers, options)
    return StateStore(path)


def _run(ray, arguments, workers, options):
    """Has every worker do its part."""
    backbone, data, path, dtype = arguments
    run = ray.remote(_precompute).options(max_retries=RETRIES, **options)
    data = ray.put(data)  # once, for all workers
    jobs = []
    try:
        for i in range(workers):
            jobs.append(run.remote(backbone, data, path, dtype, (i, workers)))
        ray.get(jobs)
    except BaseException:  # Ctrl-C as well: none goes on by itself
        for job in jobs:
            ray.cancel(job, force=True)
        raise


def _precompute(backbone, data, path, dtype, process):
    """What a worker does."""
    backbone = load_model(backbone, compile=False)
    options = {"dtype": dtype, "process": process, "verbose": 0}
    precompute(backbone, PartBatches(*data), path, **options)


def _examples(source, verdicts):
    """Image files with their labels, and `(path, reason)` of the rest."""
    if list_folder(source)[0]:
        train, validation, _, skipped = from_folder(source, verdicts)
        examples = train + (validation or [])
    else:
        tree = FileTree(source)
        reasons = verdicts(tree.files)
        examples = [(ImageFile(f), None) for f, why in reasons.items() if why is None]
        skipped = [(str(f), why) for f, why in reasons.items() if why is not None]
        skipped += tree.left_out
    if not examples:
        raise ValueError(f"`source` must hold images. There are none in {source}")
    return examples, skipped


def _warn_of(skipped, path):
    listed = "\n".join(f"  {printable(f)}: {reason}" for f, reason in skipped[:20])
    warnings.warn(
        f"Left out {len(skipped)} of what `source` holds; {path / LOOKED_AT} names the "
        f"images:\n{listed}" + "\n  ..." * (len(skipped) > 20),
        stacklevel=3,
    )
