"""Models in which a task chooses what it reads of the tasks it sees."""

import base64

import keras
import numpy as np
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec

L, M = 2, 4
SCORES = "reads/scores"


def build(*specs, backbone=None, seed=10):
    model = keras_memvit.build(backbone or make_backbone(), list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, seed + i)
    return model


def task(name, **options):
    return TaskSpec(name, 3, M, **options)


def three(budget=0.25, **options):
    """Tasks whose order is not that of their names; the last reads both others."""
    return (
        task("seen"),
        task("also", sees=["seen"]),
        task("on", sees=["also"], sees_budget=budget, **options),
    )


def answers(model, images):
    return model.predict(images, verbose=0)


def scores_of(model, name="on"):
    return keras.ops.convert_to_numpy(model.task_layers[name].variables_by_name[SCORES])


def decoded(spec, name):
    """Codes of two bits, lowest first, of (L, M) tokens."""
    data = base64.b64decode(dict(spec.reads)[name])
    codes = [(byte >> shift) & 3 for byte in data for shift in (0, 2, 4, 6)]
    return np.array(codes[: L * M]).reshape(L, M)


def saved(model, folder):
    """The tasks through their files, each choice fixed."""
    folder.mkdir()
    for name in model.task_layers:
        keras_memvit.save_task(model, name, folder / f"{name}.safetensors")
    return keras_memvit.load_task(model.backbone, folder)
