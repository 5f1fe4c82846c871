"""Tasks with parts to drop, and one whose parts were chosen by hand."""

import numpy as np
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.parts_policy import GatedSpec
from keras_memvit.models.parts_policy import PartsPolicy
from keras_memvit.recipes.prune import without

L, D, C, M = 2, 32, 3, 4
DEEP = keras_memvit.readouts.Deep(2)
SIDE = keras_memvit.readouts.Side(4)
# Which parts stay: memory tokens, rows of queries (layer, query), layers of the others.
CHOICE = {
    "memory": [1, 3],
    "queries": [1, 2],
    "side": [1],
    "adapter": [0],
    "feature_norm": [1],
}


def task(name="a", readout=DEEP, **options):
    return TaskSpec(name, C, M, readout=readout, **options)


def build(*specs, backbone=None):
    model = keras_memvit.build(backbone or make_backbone(), list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, 10 + i)
    return model


def answers(model, images, name="a"):
    return model.predict(images, verbose=0)[name]


def choice_of(model):
    policy = PartsPolicy(GatedSpec.of(model.specs[0], 1), model.backbone)
    return {group.name: np.array(CHOICE[group.name]) for group in policy.groups}


def pruned_by_hand(model):
    return without(model, "a", choice_of(model))
