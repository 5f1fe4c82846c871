"""Sharing tasks: `save_task`, `load_task`, `inspect`."""

import os
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from keras_memvit.backbones.asked_of import check_asked
from keras_memvit.backbones.convert import convert
from keras_memvit.backbones.same_backbone import require_same_backbone
from keras_memvit.files.hub import local_path
from keras_memvit.models.compose import check_masked
from keras_memvit.models.image_embedding import require_same_embedding
from keras_memvit.models.late_model import Parts
from keras_memvit.models.late_model import make_later
from keras_memvit.models.late_model import parts_of
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.task_model import TaskModel
from keras_memvit.models.task_weights import task_shapes
from keras_memvit.models.unmasked_vit import UnmaskedViT
from keras_memvit.tasks.packed import unpack
from keras_memvit.tasks.readout_names import readout_config
from keras_memvit.tasks.reads import READ
from keras_memvit.tasks.reads import SCORES
from keras_memvit.tasks.reads import check_reads
from keras_memvit.tasks.reads import fixed_specs
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.task_file import SUFFIX
from keras_memvit.tasks.task_file import read_arrays
from keras_memvit.tasks.task_file import read_card
from keras_memvit.tasks.task_file import read_shapes
from keras_memvit.tasks.task_file import task_fingerprint
from keras_memvit.tasks.task_file import write_task_file
from keras_memvit.version import __version__


def save_task(model: TaskModel, name: str, path: str | os.PathLike) -> None:
    """Saves one task: class token, memory, readout, head, spec; no backbone weight.

    The file is written under another name and renamed when whole: killed at
    any moment, the old file or the new one is there.

    Args:
        model: a `MemoryViT`.
        name: str. The task.
        path: the file, by custom `<name>.safetensors`.

    Raises:
        ValueError: if the model has no such task, or it is not finite.

    Example:

    ```python
    keras_memvit.save_task(both, "faces", "faces.safetensors")
    ```
    """
    layers = model.task_layers
    if name not in layers:
        raise ValueError(
            f"`name` must be a task of the model: {list(layers)}. Received: {name!r}"
        )
    names = [name, *visible_tasks(model.specs)[name]]
    values = {own: layers[own].arrays() for own in names}
    specs = [spec for spec in model.specs if spec.name in values]
    specs = {spec.name: spec for spec in fixed_specs(specs, values)}
    needs = {seen: task_fingerprint(values[seen], specs[seen]) for seen in names[1:]}
    arrays = values[name]
    arrays.pop(SCORES, None)  # the spec says what they chose
    card = {
        "version": __version__,
        "task": specs[name].get_config(),
        "attention": model.attention,
        "backbone": model.backbone.fingerprint(),
        "image_shape": list(model.backbone.image_shape),
        "needs": needs,
    }
    write_task_file(os.fspath(path), arrays, card)


def load_task(
    model: Any, path: str | os.PathLike | Sequence[str | os.PathLike]
) -> TaskModel:
    """Adds a saved task, or a folder of them, to a model.

    What the new model needs of Keras is made when it is first used, so tasks may as
    well be loaded one after another.

    Args:
        model: a `MemoryViT`, or anything that `build` takes as a backbone.
        path: a task file, a list of task files, a folder of them
            (`*.safetensors`), or `"hf://user/name"`; they are loaded so that each
            comes after those it sees.

    Returns:
        A new `MemoryViT` over the same backbone's weights.

    Raises:
        ValueError: if a file is damaged or belongs to another backbone, if
            its name is taken, or if the tasks it sees are not there as they
            were. Nothing is loaded then.

    Example:

    ```python
    model = keras_memvit.load_task(digits, "faces.safetensors")
    ```
    """
    cards = _cards(path)
    if not isinstance(model, TaskModel):
        path, first = next(iter(cards.items()))
        shape = first["image_shape"]
        check_asked(model, path, shape, read_shapes(path))
        return _load_onto_backbone(convert(model, image_shape=shape), cards)
    check_masked(model, "model")
    return _add(model, cards)


def inspect(
    path: str | os.PathLike, print_fn: Callable[[str], Any] | None = None
) -> None:
    """Prints a task file's card without loading a model.

    Args:
        path: a task file, also as `"hf://user/name/file.safetensors"`.
        print_fn: function that takes the text; defaults to `print`.

    Raises:
        ValueError: if the file is not a whole task file.

    Example:

    ```python
    keras_memvit.inspect("faces.safetensors")
    ```
    """
    path = local_path(path)
    card = read_card(path)
    spec = card["task"]
    lines = [
        f"task: {spec.name}",
        f"{_COUNTED[spec.kind]}: {spec.num_classes}" + _listed(spec.class_names),
        f"kind: {spec.kind}",
        f"memory tokens per layer: {spec.num_memory_tokens}",
        f"readout: {readout_config(spec.readout)}",
        *_adapter(spec),
        *(["feature norm: own"] if spec.feature_norm else []),
        *([f"head inputs: {len(spec.head_inputs):,}"] if spec.head_inputs else []),
        *_kept(spec),
        f"sees: {', '.join(card['needs']) or '-'}",
        *_reads(spec),
        f"attention: {card['attention']}",
        f"image shape: {card['image_shape']}",
        f"resizing: {spec.resizing}",
        f"backbone: {card['backbone']}",
        f"written by: keras_memvit {card['version']}",
        f"size: {path.stat().st_size:,} bytes",
    ]
    (print_fn or print)("\n".join(lines))


_COUNTED = {"single_label": "classes", "multi_label": "labels", "regression": "values"}


def _adapter(spec):
    if spec.adapter is None:
        return []
    rank = "" if spec.adapter_rank is None else f", rank {spec.adapter_rank}"
    return [f"adapter: {spec.adapter}{rank}"]


def _reads(spec):
    if spec.reads is None:
        return []
    read = [(unpack(text, 2) == READ).sum() for _, text in spec.reads]
    tokens = zip(dict(spec.reads), read)
    read = [f"{count} of {name}" for name, count in tokens if name != spec.name]
    return [f"reads memory tokens: {', '.join(read)}"]


def _kept(spec):
    found = [(group, unpack(text, 1).sum()) for group, text in spec.kept or ()]
    return [f"kept of {group}: {count}" for group, count in found]


def _listed(names, limit=10):
    if not names:
        return ""
    return f" ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})"


def _cards(path):
    """{file: card}, each after those of the tasks it needs."""
    if isinstance(path, (list, tuple)):
        files = [local_path(file) for file in path]
    else:
        path = local_path(path)
        files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise ValueError(
            f"`path` must hold task files (*{SUFFIX}). There are none in {path}"
        )
    cards = {file: read_card(file) for file in files}
    # A task's needs are closed transitively: who needs fewer comes first.
    return dict(sorted(cards.items(), key=lambda item: len(item[1]["needs"])))


def _load_onto_backbone(parts, cards):
    backbone, classifier = parts
    (path, card), *rest = cards.items()
    _check(path, card, backbone, {}, {})
    arrays = read_arrays(path, task_shapes(card["task"], backbone))
    if card["attention"] == "unmasked":
        model = UnmaskedViT(backbone, [card["task"]])
        model.task_layers[card["task"].name].assign_arrays(arrays)
    else:
        require_same_embedding([card["task"]], classifier)
        values = {card["task"].name: arrays}
        model = MemoryViT(backbone, [card["task"]], classifier, values=values)
    return _add(model, dict(rest)) if rest else model


def _add(model, cards):
    parts = parts_of(model)
    backbone, older = parts.backbone, list(parts.values)
    present = dict(parts.values)
    known = {spec.name: spec for spec in fixed_specs(parts.specs, present)}
    for path, card in cards.items():
        name = card["task"].name
        if name in present:
            raise ValueError(
                f"{path} holds the task '{name}', which the model has already: "
                f"{list(present)}. Leave it out with `select`, or save it under "
                "another name"
            )
        _check(path, card, backbone, present, known)
        if card["attention"] != "masked":
            raise ValueError(
                f"{path} holds a task with unmasked attention, which cannot stand "
                "beside others: load it onto a backbone"
            )
        present[name] = read_arrays(path, task_shapes(card["task"], backbone))
        known[name] = card["task"]
    specs = [*parts.specs, *(card["task"] for card in cards.values())]
    visible_tasks(specs)  # that those whom a task sees are there
    check_reads(specs, backbone.num_layers)
    parts = Parts(backbone, specs, parts.classifier, present, parts.frozen)
    return make_later(parts, older)


def _check(path, card, backbone, present, known):
    """Refuses a task of another backbone, or without the tasks that it needs.

    Args:
        path, card: the task's.
        backbone: the `ViTBackbone`.
        present: dict from the names of the tasks that are there to their arrays.
        known: dict to their specs, what they read fixed.
    """
    made_with = (card["backbone"], card["image_shape"])
    require_same_backbone(backbone, *made_with, path)
    missing = [name for name in card["needs"] if name not in present]
    if missing or set(card["task"].sees) - set(card["needs"]):
        raise ValueError(
            f"{path} sees the tasks {list(card['needs'])}: load these first. "
            f"Missing: {missing}"
        )
    changed = [
        name
        for name, want in card["needs"].items()
        if task_fingerprint(present[name], known[name]) != want
    ]
    if changed:
        raise ValueError(
            f"{path} was trained while seeing other versions of the tasks {changed} "
            "than those in the model"
        )
