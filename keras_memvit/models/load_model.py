"""`load_model`: a `.keras` file that may come from a stranger, or be damaged."""

import json
import os
import pathlib

import keras
import numpy as np

from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.models.keras_file import check_keras_file
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unified.unified_vit import UnifiedViT
from keras_memvit.models.unmasked_vit import UnmaskedViT
from keras_memvit.tasks.head_inputs import parse_head_inputs

CLASSES = {
    cls.__name__: cls for cls in (MemoryViT, UnifiedViT, UnmaskedViT, ViTBackbone)
}


def load_model(
    path: str | os.PathLike, *, compile: bool = True
) -> MemoryViT | UnmaskedViT | ViTBackbone:
    """Loads what `model.save("x.keras")` wrote, and refuses what is not that.

    `keras.saving.load_model` takes such files too, and believes them: a file of some kB
    can ask it for any amount of memory, and damage can give weights that are no
    numbers. Here checksums, sizes and values are checked, sizes before anything is
    made of them.

    Args:
        path: a `.keras` file of a `MemoryViT`, an `UnmaskedViT` or a `ViTBackbone`.
        compile: bool. Whether the model is compiled as it was. Defaults to `True`.

    Returns:
        The model.

    Raises:
        ValueError: if the file is damaged, holds weights that are not finite, asks for
            more than it holds, or holds another kind of model.

    Example:

    ```python
    model = keras_memvit.load_model("people.keras")
    ```
    """
    path = pathlib.Path(path)
    if not path.is_file() or path.suffix != ".keras":
        raise ValueError(f"`path` must be a .keras file. Received: {path}")
    config, num_values = check_keras_file(path)
    name = config.get("class_name")
    if name not in CLASSES:
        raise _refused(
            path, f"it holds a model of the class {name!r:.50}, not {list(CLASSES)}"
        )
    _check_size(path, config, num_values)
    try:
        model = keras.saving.load_model(path, compile=compile)
    except Exception as error:  # Keras and HDF5 raise whatever they meet
        raise _refused(path, f"{type(error).__name__}: {error}"[:500]) from error
    if type(model) not in CLASSES.values():
        raise _refused(path, f"it gave a model of type {type(model)}")
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise _refused(path, f"its weight '{weight.path}' is not finite")
    return model


def _check_size(path, config, num_values):
    """Refuses a model that is larger than the weights that the file holds."""
    try:
        least = _least_size(config["config"])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _refused(path, f"its config is not valid: {error!r:.200}") from error
    if not 0 < least <= num_values:
        raise _refused(
            path,
            f"its config asks for at least {least} numbers, and it holds {num_values}",
        )


def _least_size(config):
    """A lower bound of how many numbers a model of this config has, in integers."""
    tasks = config.get("tasks", [])
    backbone = config["backbone"]["config"] if "backbone" in config else config
    layers, width, mlp_dim = (
        _count(backbone[key]) for key in ("num_layers", "hidden_dim", "mlp_dim")
    )
    height, columns = map(_count, backbone["image_shape"][:2])
    patch = backbone["patch_size"]
    patch = [
        _count(side) for side in (patch if isinstance(patch, list) else [patch] * 2)
    ]
    patches = (height // patch[0]) * (columns // patch[1])
    size = patches * width + 3 * patch[0] * patch[1] * width
    size += layers * (4 * width * width + 2 * width * mlp_dim)
    size += _count(backbone.get("num_register_tokens", 0), 0) * width
    if config.get("classifier"):
        size += _count(config["classifier"]["config"]["num_classes"])
    if config.get("answer"):
        size += _answer_size(config["answer"])
    for task in tasks:
        size += _count(task["num_classes"]) * _head_width(task, width)
        size += _count(task.get("num_memory_tokens", 5)) * layers * width
        layered = 1 if task.get("kept") else layers  # at least
        size += _count(task.get("adapter_rank") or 0, 0) * layered * width
        size += 4 * layered * width * (task.get("feature_norm") is True)
        readout = task.get("readout")
        if isinstance(readout, dict):  # whatever its arguments mean: they are sizes
            size += sum(v for v in readout.values() if type(v) is int)
    return size


def _head_width(task, width):
    """At least how many inputs a task's head has."""
    if (kept := task.get("head_inputs")) is None:
        return width
    return len(parse_head_inputs("", kept))


def _answer_size(answer):
    """The same of a unified model's answer over all tasks."""
    width = _count(answer["width"])
    size = sum(_count(classes) for classes in answer["tasks"].values())
    size += width * _count(answer["num_random_features"], 0)
    return size + (width**2 if answer["unknown"] else 0)


def _count(value, least=1):
    if type(value) is not int or value < least:
        raise ValueError(f"{json.dumps(value)} is no count")
    return value


def _refused(path, reason):
    return ValueError(f"{path} cannot be loaded as a model: {reason}.")
