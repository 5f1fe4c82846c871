"""The Open Inference Protocol's REST paths (KServe, Triton): every task is a model.

The model `tasks` answers several, which the input `task_names` names.
"""

import asyncio

import numpy as np

from keras_memvit.serving.server.answers import shapes_of
from keras_memvit.serving.server.errors import RequestError
from keras_memvit.serving.server.pictures import from_base64
from keras_memvit.serving.server.pictures import from_numbers
from keras_memvit.serving.server.service import ALL
from keras_memvit.serving.server.service import VERSION
from keras_memvit.version import __version__

_DATATYPES = {"float32": "FP32", "str": "BYTES"}
_NUMBERS = ("UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")


def server_metadata():
    """What `GET /v2` answers."""
    return {"name": "keras_memvit", "version": __version__, "extensions": []}


def model_metadata(service, name):
    """What `GET /v2/models/NAME` answers."""
    outputs = {} if name == ALL else shapes_of(service.spec(name))
    images = {
        "name": "images",
        "datatype": "FP32",
        "shape": [-1, *service.image_shape],
    }
    inputs = [images]
    if name == ALL:
        inputs.append({"name": "task_names", "datatype": "BYTES", "shape": [-1]})
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "keras_memvit",
        "inputs": inputs,
        "outputs": [
            {"name": output, "datatype": _DATATYPES[dtype], "shape": [-1, length]}
            for output, (dtype, length) in outputs.items()
        ],
    }


async def infer(service, name, body):
    """What `POST /v2/models/NAME/infer` answers.

    Args:
        service: a `Service`.
        name: str, a task or `tasks`.
        body: the request, a dict with `inputs`: `images` of numbers
            `(B, H, W, 3)`, or `image_bytes` of base64 strings `(B,)`.
    """
    inputs = _by_name(body.get("inputs"), "inputs")
    tasks = [name]
    if name == ALL:
        tasks = inputs.pop("task_names", {}).get("data")
        if not (isinstance(tasks, list) and all(isinstance(t, str) for t in tasks)):
            raise RequestError(400, "the model 'tasks' wants the input 'task_names'")
    service.require(*tasks)
    if list(inputs) == ["images"]:
        pixels = await service.decode(
            lambda value, what: from_numbers(value, service.image_shape, what),
            await asyncio.to_thread(_images, inputs["images"], service.image_shape),
        )
    elif list(inputs) == ["image_bytes"]:
        data = inputs["image_bytes"].get("data")
        if not isinstance(data, list):
            raise RequestError(400, "'data' of 'image_bytes' must be a list")
        how = (service.image_shape, service.settings.max_pixels)
        resizing = service.resizing(tasks)
        pixels = await service.decode(
            lambda value, what: from_base64(value, *how, what, resizing), data
        )
    else:
        raise RequestError(
            400, f"the inputs are 'images' or 'image_bytes', not {sorted(inputs)}"
        )
    found = await service.answer(pixels, [tasks] * len(pixels))
    columns = {}
    for task in tasks:
        for output in shapes_of(service.spec(task)):
            key = output if name != ALL else f"{task}/{output}"
            columns[key] = [row[task][output] for row in found]
    wanted = list(columns)
    if body.get("outputs"):
        wanted = list(_by_name(body["outputs"], "outputs"))
    unknown = [key for key in wanted if key not in columns]
    if unknown:
        raise RequestError(400, f"the outputs are {list(columns)}, not {unknown[0]!r}")
    answer = {"model_name": name, "model_version": VERSION}
    if "id" in body:
        answer["id"] = body["id"]
    return {**answer, "outputs": [_output(key, columns[key]) for key in wanted]}


def _by_name(tensors, what):
    """`{name: tensor}` of a request's list."""
    right = isinstance(tensors, list) and all(
        isinstance(tensor, dict) and isinstance(tensor.get("name"), str)
        for tensor in tensors
    )
    if not right:
        raise RequestError(400, f"'{what}' must be a list of tensors with names")
    return {tensor["name"]: tensor for tensor in tensors}


def _images(tensor, image_shape):
    """A tensor of numbers as one array an image."""
    if tensor.get("datatype") not in _NUMBERS:
        raise RequestError(400, f"'datatype' of 'images' must be one of {_NUMBERS}")
    try:
        values = np.array(tensor.get("data"), "float32").reshape(tensor.get("shape"))
    except (TypeError, ValueError):
        raise RequestError(400, "'data' of 'images' is not of its 'shape'") from None
    if values.ndim != 4 or values.shape[1:] != tuple(image_shape):
        raise RequestError(
            400,
            f"'images' must have the shape {[-1, *image_shape]}, not "
            f"{list(values.shape)}",
        )
    return list(values)


def _output(name, rows):
    """One output of all images; data are flat, row by row."""
    values = np.stack(rows) if rows else np.zeros((0, 0), "float32")
    datatype = "BYTES" if values.dtype == object else "FP32"
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }
