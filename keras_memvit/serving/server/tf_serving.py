"""TensorFlow Serving's REST paths: every task is a model of version 1.

The model `tasks` answers several: a request names them in `"tasks"`.
"""

import functools

from keras_memvit.serving.server.answers import shapes_of
from keras_memvit.serving.server.errors import RequestError
from keras_memvit.serving.server.pictures import from_base64
from keras_memvit.serving.server.pictures import from_numbers
from keras_memvit.serving.server.service import ALL
from keras_memvit.serving.server.service import VERSION

_DTYPES = {"float32": "DT_FLOAT", "str": "DT_STRING"}
_SIGNATURES = (None, "", "serving_default", "serving_default_bytes")


def status(service, name):
    """What `GET /v1/models/NAME` answers."""
    if name != ALL:
        service.require(name)
    right = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [
            {"version": VERSION, "state": "AVAILABLE", "status": right}
        ]
    }


def metadata(service, name):
    """What `GET /v1/models/NAME/metadata` answers."""
    outputs = {} if name == ALL else shapes_of(service.spec(name))
    signature = {
        "inputs": {"images": _tensor("images", "float32", service.image_shape)},
        "outputs": {
            output: _tensor(output, dtype, (length,))
            for output, (dtype, length) in outputs.items()
        },
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": VERSION},
        "metadata": {
            "signature_def": {"signature_def": {"serving_default": signature}}
        },
    }


def _tensor(name, dtype, shape):
    sizes = [{"size": str(n), "name": ""} for n in (-1, *shape)]
    shape = {"dim": sizes, "unknown_rank": False}
    return {"dtype": _DTYPES[dtype], "tensor_shape": shape, "name": name}


async def predict(service, name, body):
    """What `POST /v1/models/NAME:predict` answers.

    Args:
        service: a `Service`.
        name: str, a task or `tasks`.
        body: the request, a dict: `instances` (an image each) or `inputs` (columns).
    """
    if name != ALL:
        service.require(name)
    if body.get("signature_name") not in (*_SIGNATURES, name, f"{name}_bytes"):
        raise RequestError(
            400, f"there is no signature {body['signature_name']!r} of {name!r}"
        )
    by_row = "instances" in body
    if by_row == ("inputs" in body):
        raise RequestError(400, "a request has either 'instances' or 'inputs'")
    images, tasks = (_rows if by_row else _columns)(body)
    tasks = [[name] if name != ALL else _names(own) for own in tasks]
    service.require(*(task for own in tasks for task in own))
    pixels = await service.decode(
        functools.partial(_pixels, service), list(zip(images, tasks))
    )
    found = await service.answer(pixels, tasks)
    rows = [_flat(row, name) for row in found]
    if by_row:
        return {"predictions": [_alone(row) for row in rows]}
    keys = list(rows[0]) if rows else []
    return {"outputs": _alone({key: [row[key] for row in rows] for key in keys})}


def _rows(body):
    instances = body["instances"]
    if not isinstance(instances, list):
        raise RequestError(400, "'instances' must be a list")
    images = [_image(one) if isinstance(one, dict) else one for one in instances]
    tasks = [one.get("tasks") if isinstance(one, dict) else None for one in instances]
    return images, [body.get("tasks") if own is None else own for own in tasks]


def _columns(body):
    inputs = body["inputs"]
    images = _image(inputs) if isinstance(inputs, dict) else inputs
    if not isinstance(images, list):
        raise RequestError(400, "'inputs' must hold lists, an entry an image")
    asked = inputs.get("tasks") if isinstance(inputs, dict) else None
    return images, [asked or body.get("tasks")] * len(images)


def _image(fields):
    """The field that holds an image, or a column of them."""
    for key in ("images", "image_bytes", "b64"):
        if key in fields:
            return fields if key == "b64" else fields[key]
    raise RequestError(400, "an input has a field 'images' or 'image_bytes'")


def _pixels(service, image_and_tasks, what):
    image, tasks = image_and_tasks
    if isinstance(image, dict):
        how = (service.image_shape, service.settings.max_pixels)
        return from_base64(image.get("b64"), *how, what, service.resizing(tasks))
    return from_numbers(image, service.image_shape, what)


def _names(tasks):
    right = isinstance(tasks, list) and all(isinstance(name, str) for name in tasks)
    if not right or not tasks:
        raise RequestError(400, "the model 'tasks' wants a list of names in 'tasks'")
    return tasks


def _flat(row, name):
    """Lists by output; `<task>/<output>` where several tasks were asked."""
    return {
        output if name != ALL else f"{task}/{output}": value.tolist()
        for task, outputs in row.items()
        for output, value in outputs.items()
    }


def _alone(outputs):
    """One output goes without its name, as TensorFlow Serving has it."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs
