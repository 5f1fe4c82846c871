"""`data.predict_folder`: answers to more pictures than fit in memory."""

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_memvit.data.answers import import_pyarrow
from keras_memvit.data.bulk.answerer import Answerer
from keras_memvit.data.bulk.cluster import connect
from keras_memvit.data.bulk.cluster import count_workers
from keras_memvit.data.bulk.cluster import worker_options
from keras_memvit.data.bulk.unit_pictures import PARQUET_COLUMN
from keras_memvit.data.bulk.units import Source
from keras_memvit.data.bulk.units import name_of
from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json
from keras_memvit.files.leftovers import scratch_folder
from keras_memvit.files.locks import folder_locked
from keras_memvit.models.load_model import load_model
from keras_memvit.models.sharing import load_task
from keras_memvit.models.task_model import TaskModel
from keras_memvit.readouts.modules import readout_modules
from keras_memvit.states.store_card import read_json
from keras_memvit.tasks.resizing import common_resizing

ANSWERS, BROKEN, CARD = "answers", "broken.jsonl", "job.json"
BLOCKS = 64  # parts of the work a worker, which Ray hands out one by one


def predict_folder(
    source: str | os.PathLike | Sequence[str | os.PathLike],
    model: Any,
    output: str | os.PathLike,
    *,
    backbone: Any = None,
    top: int = 1,
    batch_size: int = 32,
    shard_size: int = 1024,
    image_column: str | None = None,
    key_column: str | None = None,
    num_workers: int | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> list[tuple[str, str]]:
    """Answers every task for folders of pictures larger than memory, on Ray Data.

    Each worker loads the model once and answers shards of pictures, each of which
    becomes one Parquet file, written whole. Called again on the same `output` it goes
    on: what has been answered is not read again. A worker that dies is replaced.

    The Parquet files in `output/answers` have the columns of `keras-memvit predict`:
    `image`, `task`, `rank`, `answer`, `probability`, `value`, `error`. On a cluster,
    source and output are in a file system that all machines share.

    Args:
        source: a path or a list of them: folders (searched deeply), image files,
            Parquet files with a column of encoded images, and TFRecords.
        model: a `MemoryViT`, a `.keras` file of one, a task file, a list of these or a
            folder of them.
        output: the folder of the answers.
        backbone: where `model` is of task files, anything that `load_task` takes.
        top: int. Likeliest classes an image. Defaults to `1`.
        batch_size: int. Images a step. Defaults to `32`.
        shard_size: int. Image files a file of answers; a row group of a Parquet file
            and a TFRecord are one shard each. Defaults to `1024`.
        image_column: optional str. Defaults to `"image"` of Parquet files and
            `"image/encoded"` of TFRecords.
        key_column: optional str. The column whose values name images; without it
            they are `file#row`.
        num_workers: optional int. Defaults to as many as the cluster has room for.
        num_cpus: float. CPUs of a worker, which decodes in as many threads. Defaults
            to `1`.
        num_gpus: float. GPUs of a worker. Defaults to `0`.

    Returns:
        A list of `(name, reason)` of all that could not be answered: damaged images,
        and what else the folders hold. `output/broken.jsonl` has it as well.

    Raises:
        ValueError: if an argument is not as above, or `output` holds the answers of
            another model, or tasks resize images differently.
        ImportError: if Ray or pyarrow is missing.

    Example:

    ```python
    broken = keras_memvit.data.predict_folder("photos", "people.keras", "answers")
    ```
    """
    import_pyarrow()
    for name, value in (("top", top), ("batch_size", batch_size)):
        _require_count(name, value)
    _require_count("shard_size", shard_size)
    found = Source(source)
    output = pathlib.Path(os.path.abspath(os.path.expanduser(output)))
    answers = output / ANSWERS
    _refuse_inside(output, source)
    model = _model(model, backbone)
    common_resizing(model.specs)  # refused here, not by every worker
    modules = readout_modules(model.specs, "a worker")
    answers.mkdir(parents=True, exist_ok=True)
    columns = (image_column, key_column)
    with folder_locked(output):  # another call on it comes first
        _claim(output, {"model": _digest(model), "top": top, "columns": columns})
        done = {path.stem for path in answers.glob("*.parquet")}
        needed = [image_column or PARQUET_COLUMN, *filter(None, [key_column])]
        units = list(found.units(shard_size, _answered(answers), needed))
        units = [unit for unit in units if name_of(unit) not in done]
        if units:
            with scratch_folder(output) as scratch:
                file = scratch / "model.keras"
                model.save(file)
                threads = max(int(num_cpus), 1)
                arguments = (str(file), str(answers), top, batch_size, threads)
                arguments += (columns, modules)
                _run(units, arguments, num_workers, num_cpus, num_gpus)
        broken = [*_read(answers, errors=True), *found.left_out]
        with open_whole(output / BROKEN, "w", encoding="utf-8") as lines:
            for name, reason in broken:
                lines.write(json.dumps({"image": name, "error": reason}) + "\n")
    return broken


def _run(units, arguments, num_workers, num_cpus, num_gpus):
    """Answers units by an actor pool of Ray Data."""
    ray = connect()
    workers = count_workers(ray, num_workers, num_cpus, num_gpus)
    workers = min(workers, len(units))
    rows = [{"unit": json.dumps(unit)} for unit in units]
    blocks = min(len(rows), BLOCKS * workers)
    answered = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        Answerer,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        **worker_options(num_cpus, num_gpus),
    )
    for _ in answered.iter_batches(batch_size=None):
        pass


def _model(model, backbone):
    """A model of all tasks, of what names it."""
    if isinstance(model, TaskModel):
        return model
    if backbone is not None:
        return load_task(backbone, model)
    if isinstance(model, (str, os.PathLike)) and str(model).endswith(".keras"):
        model = load_model(model, compile=False)
        if isinstance(model, TaskModel):
            return model
    raise ValueError(
        "`model` must be a MemoryViT, a .keras file of one, or task files, with "
        f"`backbone`. Received: model={model!r}, backbone={backbone!r}"
    )


def _digest(model):
    """SHA-256 of all that decides a model's answers."""
    digest = hashlib.sha256()
    for spec in model.specs:
        digest.update(json.dumps(spec.get_config(), sort_keys=True).encode())
    for weight in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.reshape(-1).view("uint8"))
    return digest.hexdigest()


def _claim(output, card):
    """Makes the folder that of these answers, unless it is already."""
    card = json.loads(json.dumps(card))
    file = output / CARD
    if not file.exists():
        return write_json(file, card)
    found = read_json(file)
    if found is None:
        raise ValueError(
            f"`output` must hold the answers of one model, and {file}, which says of "
            "which, is damaged: choose an empty folder"
        )
    if found != card:
        differing = [key for key, value in card.items() if found.get(key) != value]
        raise ValueError(
            f"`output` holds other answers, which differ in {differing}: choose an "
            f"empty folder. Received: {output}"
        )


def _answered(answers):
    """The names of all images that have an answer, or cannot have one."""
    return {name for name, _ in _read(answers)}


def _read(answers, errors=False):
    """`(name, error)` of what is answered, or of what could not be, file by file."""
    from pyarrow import parquet

    for path in sorted(answers.glob("*.parquet")):
        table = parquet.read_table(path, columns=["image", "error"])
        names, reasons = (column.to_pylist() for column in table.columns)
        for name, reason in zip(names, reasons):
            if not errors or reason is not None:
                yield name, reason


def _require_count(name, value):
    if type(value) is not int or value < 1:
        raise ValueError(f"`{name}` must be an int, at least 1. Received: {value!r}")


def _refuse_inside(output, source):
    """Answers among the pictures would be taken for such."""
    for path in [source] if isinstance(source, (str, os.PathLike)) else source:
        path = pathlib.Path(os.path.abspath(os.path.expanduser(path)))
        if path == output or path in output.parents:
            raise ValueError(
                f"`output` must be outside of `source`, {path}. Received: {output}"
            )
