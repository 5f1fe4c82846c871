"""`prune`: a task within a number of bytes, by a policy on its own parts."""

import dataclasses
import operator
from typing import Any

import keras
import numpy as np

from keras_memvit.models.compose import assemble
from keras_memvit.models.compose import check_masked
from keras_memvit.models.compose import select
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.parts_policy import TEMPERATURES
from keras_memvit.models.parts_policy import GatedSpec
from keras_memvit.models.task_parts import MEMORY
from keras_memvit.models.task_parts import part_groups
from keras_memvit.models.task_weights import task_shapes
from keras_memvit.recipes.budget import parse_budget
from keras_memvit.recipes.labelled_for_all import LabelledForAll
from keras_memvit.tasks.kept import pack_kept
from keras_memvit.tasks.reads import fixed_specs
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.training.schedules import adamw_optimizer
from keras_memvit.training.store_inputs import is_store

POLICY_RATE = 0.1  # of the logits, which go some units in a hundred steps
BYTES = 4  # a number's in a task file


def prune(
    model: MemoryViT,
    name: str,
    budget: str | int,
    data: Any,
    *,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 0,
) -> MemoryViT:
    """Makes a trained task fit a number of bytes: what it does not need is dropped.

    A task is made of parts: memory tokens, a deep readout's queries in each layer (with
    the head's weights for what they find), the layers of a side readout, an adapter
    and norms of its own. Each gets a gate in [0, 1], and task and gates are trained on
    together, with a term in the loss for what is over the budget: first all parts a
    little, in the end each whole or not at all. Then the parts with the largest gates
    stay, as many as fit, at least one of each kind; the gates go, and the task is
    trained on without the others, half as many epochs. What is in no part stays:
    class token, the head on it, a synthesised readout.

    A memory token is dropped in all layers. The file is smaller and so is memory's
    cost; a dropped query or layer is computed as before, with zeros.

    Args:
        model: a `MemoryViT` whose task is trained.
        name: str. The task; no other task of the model may see it.
        budget: what the tensors of its file may take: a string such as `"200kB"`, or an
            int of bytes. A task within it is left as it is.
        data: the task's labelled images: `(images, labels)`, a `StateStore`, or a data
            set of batches `(inputs, labels)`, as in `fit`.
        epochs: int of at least 1, with gates. Defaults to `10`.
        learning_rate: float, AdamW's peak: for a deep readout about a third of what
            trained it, for a side readout the same. Defaults to `1e-3`.
        batch_size: int. Defaults to `32`.
        seed: int. Decides the order of arrays and of a store. Defaults to `0`.
        verbose: as in `fit`.

    Returns:
        A `MemoryViT` over the same backbone's weights, other tasks as they are.

    Raises:
        ValueError: if `budget` is less than the smallest that the task can be,
            `epochs` is not as above, the model has no such task, or another one sees
            it.

    Example:

    ```python
    small = keras_memvit.recipes.prune(model, "digits", "200kB", data=store)
    keras_memvit.save_task(small, "digits", "digits.safetensors")
    ```

    Reference:
        - [Kim et al., 2023](https://arxiv.org/abs/2302.13435), a policy under a limit
          on what is learned; here on the parts of a task
    """
    check_masked(model, "model")
    _check_name(model, name)
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"`epochs` must be an int of at least 1. Received: {epochs!r}")
    owners = dict.fromkeys(model.task_layers, model)
    spec = _fixed(model, name)
    room = _room(spec, model.backbone, _limit(budget))
    if room is None:
        return assemble(model.backbone, model.specs, owners, model.classifier)
    fitted = {"epochs": epochs, "verbose": verbose}
    data = _batches(data, name, model.backbone, batch_size, seed)
    gated = _replace(select(model, name), name, GatedSpec.of(spec, room))
    layer = gated.task_layers[name]
    groups = dict.fromkeys(layer.parameter_groups, learning_rate / POLICY_RATE)
    _fit(gated, name, data, POLICY_RATE, groups, **fitted, callbacks=[_Cooling(layer)])
    small = without(gated, name, layer.policy.choice())
    fitted["epochs"] = -(-epochs // 2)
    _fit(small, name, data, learning_rate, {}, **fitted)
    small = small.task_layers[name]
    specs = [small.spec if own.name == name else own for own in model.specs]
    changed = {name: small.arrays()}
    return assemble(model.backbone, specs, owners, model.classifier, changed)


def smallest(spec, backbone):
    """Bytes of the tensors of a task with one part of each kind."""
    return BYTES * sum(_fixed_and_least(spec, backbone))


def num_bytes(spec, backbone):
    """Bytes of the tensors in a task's file."""
    shapes = task_shapes(spec, backbone).values()
    return BYTES * sum(int(np.prod(shape)) for shape in shapes)


def without(model, name, choice):
    """A model whose task has some of its parts, ungated, with the values it has.

    Args:
        model: a `MemoryViT`.
        name: str. The task.
        choice: dict from group to places in its `rows`, see `part_groups`.
    """
    layer = model.task_layers[name]
    spec, arrays = layer.spec, layer.arrays()
    own = {f.name: getattr(spec, f.name) for f in dataclasses.fields(TaskSpec)}
    kept = dict(spec.kept or ())
    for group in part_groups(spec, model.backbone):
        places = choice[group.name]
        if group.name == MEMORY:
            own["num_memory_tokens"] = len(places)
            arrays[MEMORY] = arrays[MEMORY][:, places]
            continue
        kept[group.name] = pack_kept(group.rows[places], group.count)
        for tensor, parameter in layer.parameters.items():
            if parameter.parts and parameter.group == group.name:
                rest = parameter.shape[parameter.parts :]
                arrays[tensor] = arrays[tensor].reshape(-1, *rest)[places]
        if group.inputs is not None:
            stay = np.isin(group.inputs, [-1, *places])
            inputs = np.arange(len(stay))
            if spec.head_inputs is not None:
                inputs = np.array(spec.head_inputs)
            own["head_inputs"] = tuple(inputs[stay].tolist())
            arrays["head/kernel"] = arrays["head/kernel"][stay]
    own["kept"] = kept or None
    return _replace(model, name, TaskSpec(**own), arrays)


def _replace(model, name, spec, arrays=None):
    """The model with another spec of a task, all others frozen."""
    specs = [spec if own.name == name else own for own in model.specs]
    values = {own: layer.arrays() for own, layer in model.task_layers.items()}
    values[name] = values[name] if arrays is None else arrays
    frozen = [own for own in values if own != name]
    return MemoryViT(model.backbone, specs, model.classifier, frozen, values)


def _fit(model, name, data, rate, groups, **options):
    model.compile(
        adamw_optimizer(rate), metrics=[], learning_rate_multipliers={name: groups}
    )
    model.fit(data, **options)


class _Cooling(keras.callbacks.Callback):
    """The temperature of each epoch, from the first to the last by equal factors."""

    def __init__(self, layer):
        super().__init__()
        self.policy = layer.policy

    def on_epoch_begin(self, epoch, logs=None):
        first, last = TEMPERATURES
        share = epoch / max(self.params["epochs"] - 1, 1)
        self.policy.temperature.assign(first * (last / first) ** share)


def _batches(data, name, backbone, batch_size, seed):
    """Batches with the labels of one task, each pass in its order."""
    if is_store(data):
        data.check(backbone)
        data = data.with_labels({name: _labels(data.labels, name)}).drop_remainder()
        data = data.batches(batch_size, shuffle=True, seed=seed)
    elif isinstance(data, tuple) and len(data) == 2:
        data = data[0], _labels(data[1], name)
    return LabelledForAll(data, [name], batch_size, seed)


def _labels(labels, name):
    labels = labels.get(name) if isinstance(labels, dict) else labels
    if labels is None:
        raise ValueError(f"`data` must have labels of the task '{name}'")
    return labels


def _fixed(model, name):
    """A task's spec, with what it reads of those that it sees fixed, as in its file."""
    values = {own: layer.arrays() for own, layer in model.task_layers.items()}
    return {spec.name: spec for spec in fixed_specs(model.specs, values)}[name]


def _room(spec, backbone, limit):
    """How many numbers all parts may take; None where the whole task fits."""
    if num_bytes(spec, backbone) <= limit:
        return None
    fixed, least = _fixed_and_least(spec, backbone)
    if BYTES * (fixed + least) > limit:
        raise ValueError(
            f"`budget` must be at least {BYTES * (fixed + least):,} bytes for task "
            f"'{spec.name}': class token, head, and one part of each kind. "
            f"Received: {limit:,} bytes"
        )
    return limit // BYTES - fixed


def _fixed_and_least(spec, backbone):
    """Numbers of a task that are in no part, and of one part of each kind at most."""
    groups = part_groups(spec, backbone)
    inside = sum(int(group.numbers.sum()) for group in groups)
    least = sum(int(group.numbers.max()) for group in groups)
    return num_bytes(spec, backbone) // BYTES - inside, least


def _limit(budget):
    if isinstance(budget, str):
        return int(parse_budget(budget)["bytes"])
    try:
        limit = operator.index(budget)
    except TypeError:
        limit = 0
    if limit < 1 or isinstance(budget, bool):
        raise ValueError(
            "`budget` must be bytes, such as '200kB' or 200_000. "
            f"Received: budget={budget!r}"
        )
    return limit


def _check_name(model, name):
    if name not in model.task_layers:
        raise ValueError(
            f"`name` must be a task of the model: {list(model.task_layers)}. "
            f"Received: {name!r}"
        )
    seers = [own for own, seen in visible_tasks(model.specs).items() if name in seen]
    if seers:
        raise ValueError(
            "`name` must be a task that no other sees, whose answers would change: "
            f"`select` it first. Received: {name!r}, which {seers} see"
        )
