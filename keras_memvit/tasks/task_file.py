"""A task as a file: a few hundred kB, no backbone weight in it.

A safetensors file with `class_token` (hidden_dim,), `memory` (num_layers,
num_memory_tokens, hidden_dim), `head/kernel` (hidden_dim, num_classes) and
`head/bias` (num_classes,), all float32; a task with a deep readout also has
`queries` (num_layers, num_query_tokens, hidden_dim) and a kernel with
`(1 + num_layers * num_query_tokens) * hidden_dim` rows. One metadata entry
`keras_memvit`, a JSON object: format, library version, the task's spec, the backbone's
fingerprint, and the fingerprints of the tasks that it reads.
"""

import hashlib
import json
import pathlib

import keras
import numpy as np

from keras_memvit.files.atomic import write_whole
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import TaskSpec

FORMAT = 1
SUFFIX = ".safetensors"
ENTRY = "keras_memvit"
MAX_HEADER_BYTES = 1 << 20


def task_arrays(task):
    """The arrays of a `TaskTokens` layer under their names in a file."""

    def array(variable):
        return np.array(keras.ops.convert_to_numpy(variable), dtype="float32")

    arrays = {
        "class_token": array(task.class_token),
        "memory": np.stack([array(layer.memory) for layer in task.memory]),
        "head/kernel": array(task.head.kernel),
        "head/bias": array(task.head.bias),
    }
    if task.num_query_tokens:
        arrays["queries"] = array(task.queries)
    return arrays


def assign_arrays(task, arrays):
    """Puts the arrays of a file into a `TaskTokens` layer."""
    task.class_token.assign(arrays["class_token"])
    for layer, memory in zip(task.memory, arrays["memory"]):
        layer.memory.assign(memory)
    task.head.kernel.assign(arrays["head/kernel"])
    task.head.bias.assign(arrays["head/bias"])
    if task.num_query_tokens:
        task.queries.assign(arrays["queries"])


def task_fingerprint(arrays):
    """SHA-256 of what other tasks can read of a task: class token and memory."""
    digest = hashlib.sha256()
    for name in ("class_token", "memory"):
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def write_task(model, name, path, version):
    """Writes one task of a model, whole or not at all.

    Args:
        model: a `MemoryViT`.
        name: the task's name.
        path: the file; a former one is replaced in one step.
        version: the library's version.
    """
    from safetensors.numpy import save

    specs = {spec.name: spec for spec in model.specs}
    if name not in specs:
        raise ValueError(
            f"`name` must be a task of the model: {list(specs)}. Received: {name!r}"
        )
    arrays = task_arrays(model.task_layers[name])
    broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(
            f"Task '{name}' has values that are not finite in {broken}: it would be "
            "refused on loading. Train it again with a smaller learning rate."
        )
    needs = {
        seen: task_fingerprint(task_arrays(model.task_layers[seen]))
        for seen in visible_tasks(model.specs)[name]
    }
    card = {
        "format": FORMAT,
        "version": version,
        "task": specs[name].get_config(),
        "attention": model.attention,
        "backbone": model.backbone.fingerprint(),
        "image_shape": list(model.backbone.image_shape),
        "needs": needs,
    }
    write_whole(path, save(arrays, metadata={ENTRY: json.dumps(card)}))


def read_card(path):
    """The metadata of a task file, checked; no tensor is read.

    Returns:
        A dict; its `"task"` is a `TaskSpec`.

    Raises:
        ValueError: if the file is not a whole task file.
    """
    card = _parse_card(path, _open(path).metadata())
    try:
        card["task"] = TaskSpec.from_config(card["task"])
    except (TypeError, ValueError) as error:
        raise _invalid(path, f"its task spec is not valid: {error}") from error
    return card


def read_arrays(path, spec, num_layers, hidden_dim):
    """The tensors of a task file, checked against its spec and a backbone.

    Raises:
        ValueError: names the tensor, what was expected and what is there.
    """
    num_read = num_layers * spec.queries_per_layer
    expected = {
        "class_token": (hidden_dim,),
        "memory": (num_layers, spec.num_memory_tokens, hidden_dim),
        "head/kernel": ((1 + num_read) * hidden_dim, spec.num_classes),
        "head/bias": (spec.num_classes,),
    }
    if num_read:
        expected["queries"] = (num_layers, spec.queries_per_layer, hidden_dim)
    file = _open(path)
    names = sorted(file.keys())
    if names != sorted(expected):
        missing = sorted(set(expected) - set(names))
        extra = sorted(set(names) - set(expected))[:5]
        raise _invalid(path, f"missing tensors {missing}, unexpected tensors {extra}")
    arrays = {}
    for name, shape in expected.items():
        part = file.get_slice(name)
        found = (tuple(part.get_shape()), part.get_dtype())
        if found != (shape, "F32"):
            raise _invalid(
                path,
                f"tensor '{name}' must have shape {shape} and dtype F32. "
                f"Received: shape {found[0]} and dtype {found[1]}",
            )
        arrays[name] = file.get_tensor(name)
        if not np.isfinite(arrays[name]).all():
            raise _invalid(path, f"tensor '{name}' holds values that are not finite")
    return arrays


def _open(path):
    """Opens a file whose header is small and consistent with its length."""
    from safetensors import SafetensorError
    from safetensors import safe_open

    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"`path` must be a task file. There is none at {path}")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER_BYTES, max(path.stat().st_size - 8, 0)):
        raise _invalid(
            path, f"it is truncated or no safetensors file: header of {length} bytes"
        )
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:
        raise _invalid(
            path, f"it is truncated or no safetensors file: {error}"
        ) from error


def _parse_card(path, metadata):
    text = (metadata or {}).get(ENTRY)
    if text is None:
        raise _invalid(path, f"it has no metadata entry '{ENTRY}'")
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"its metadata entry '{ENTRY}' is no JSON") from error
    types = {
        "format": int,
        "version": str,
        "task": dict,
        "attention": str,
        "backbone": str,
        "image_shape": list,
        "needs": dict,
    }
    if not isinstance(card, dict):
        raise _invalid(path, f"its metadata entry '{ENTRY}' is no JSON object")
    for key, kind in types.items():
        if not isinstance(card.get(key), kind):
            raise _invalid(
                path, f"its metadata must have '{key}' of type {kind.__name__}"
            )
    if card["format"] != FORMAT:
        raise _invalid(
            path, f"it has format {card['format']}; this version reads format {FORMAT}"
        )
    return card


def _invalid(path, reason):
    return ValueError(f"{path} cannot be loaded as a task file: {reason}.")
