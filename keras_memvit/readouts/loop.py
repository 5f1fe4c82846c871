"""The one loop: the frozen stream's layers go by, and every readout takes from them."""

import numpy as np
from keras import ops

from keras_memvit.readouts.adapters.task_adapters import PREFIXES
from keras_memvit.readouts.class_token import ClassToken
from keras_memvit.tasks.head_inputs import head_width

CLASS_TOKEN = ClassToken()
# The class token's tensors, as trained and as served.
RESERVED = ("class_token", "memory", "memory_key", "memory_value")


def run_readouts(layers, backbone, tasks, batch, train_seen=False, layout=None):
    """What each task's head takes, from images, from a store, or as served.

    Args:
        layers: iterable of `(block, BaseStates)`, of `ViTBackbone.base_layers` or
            `ViTBackbone.stored_layers`.
        backbone: the `ViTBackbone`.
        tasks: list of `Task`.
        batch: number of images.
        train_seen: bool. Whether a task that sees another trains it too.
        layout: optional `TaskLayout` of the tasks, where their specs do not say it.

    Returns:
        A dict from task name to features `(B, F)`, float32; and the last layer's
        `BaseStates`.
    """
    groups = readout_groups(tasks)
    options = {CLASS_TOKEN: {"train_seen": train_seen, "layout": layout}}
    states = [
        readout.start(own, backbone, batch, **options.get(readout, {}))
        for readout, own in groups
    ]
    base = None
    for i, (block, base) in enumerate(layers):
        states = [
            readout.step(own, i, block, base, state)
            for (readout, own), state in zip(groups, states)
        ]
    found = {task.spec.name: [] for task in tasks}
    for (readout, own), state in zip(groups, states):
        for task, part in zip(own, _features(readout, own, backbone, state)):
            part = ops.cast(part, "float32")
            if not found[task.spec.name] and task.spec.readout.class_token_scale != 1:
                part = part * task.spec.readout.class_token_scale
            found[task.spec.name].append(part)
    features = {t.spec.name: _head_inputs(t.spec, found[t.spec.name]) for t in tasks}
    return features, base


def _head_inputs(spec, parts):
    """What a head takes of all that a task's readouts found: `(B, F)`."""
    features = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
    if spec.head_inputs is None:
        return features
    return ops.take(features, np.array(spec.head_inputs), axis=-1)


def _features(readout, tasks, backbone, state):
    """What a readout found, checked: whoever wrote it is told what is wrong."""
    found = readout.features(tasks, backbone, state)
    width = readout.num_features(backbone)
    shapes = [tuple(getattr(part, "shape", ())) for part in found or ()]
    right = all(len(shape) == 2 and shape[1] == width for shape in shapes)
    if len(shapes) != len(tasks) or not right:
        raise ValueError(
            f"`features` of the readout '{readout.name}' must give {len(tasks)} "
            f"tensors of the shape {(None, width)}, `num_features`. Received: {shapes}"
        )
    return found


def readout_groups(tasks):
    """Tasks that are computed together: a list of `(readout, list of Task)`.

    The class tokens of all, then the tasks of each other readout.
    """
    if not tasks:
        return []
    groups = {CLASS_TOKEN: tasks}
    for task in tasks:
        if task.spec.readout != CLASS_TOKEN:
            groups.setdefault(task.spec.readout, []).append(task)
    return list(groups.items())


def readouts_of(spec):
    """All of a task's readouts: the class token, and its own."""
    own = [spec.readout] if spec.readout != CLASS_TOKEN else []
    return [CLASS_TOKEN, *own]


def num_queries(specs):
    """How many queries all tasks attend to a layer's base tokens with."""
    return sum(readout.num_queries for spec in specs for readout in readouts_of(spec))


def fold(task, backbone):
    """A task's tensors as they are served, without those of its head."""
    folded = {}
    for readout in readouts_of(task.spec):
        folded.update(readout.fold(task, backbone))
    return folded


def parameters(spec, backbone):
    """All of a task's tensors but its head's: a dict from name to `Parameter`."""
    found = {}
    for readout in readouts_of(spec):
        readout.check(backbone)
        own = readout.parameters(spec, backbone)
        taken = ("head/", "reads/", *PREFIXES)
        if found and any(name in RESERVED or name.startswith(taken) for name in own):
            raise ValueError(
                f"`parameters` of the readout '{readout.name}' must not be named as "
                "those of the class token, the adapter, the norms or the head. "
                f"Received: {sorted(own)}"
            )
        found.update(own)
    return found


def num_features(spec, backbone):
    """Width of what a task's head takes."""
    width = sum(readout.num_features(backbone) for readout in readouts_of(spec))
    return head_width(spec.name, spec.head_inputs, width)
