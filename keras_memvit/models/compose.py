"""New models from old ones: side by side, built upon, or a part."""

import dataclasses
from collections.abc import Sequence

from keras_memvit.backbones.same_backbone import require_same_backbone
from keras_memvit.models.image_embedding import require_same_embedding
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unmasked_vit import UnmaskedViT
from keras_memvit.readouts import Readout
from keras_memvit.tasks.reads import fixed_specs
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import Tasks
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.tasks.spec import parse_tasks


def concatenate(models: Sequence[MemoryViT]) -> MemoryViT:
    """Puts independently trained tasks side by side in one model.

    The paper's model concatenation: one forward pass answers every task, each
    as in its own model. The backbone's weights are shared, not copied; the
    tasks' are copied, so that training the new model leaves the old ones be.

    Args:
        models: list of `MemoryViT` on the same backbone (the same weights), with
            distinct task names.

    Returns:
        A `MemoryViT` over the first model's backbone.

    Raises:
        ValueError: if task names clash, backbones differ, or a model's
            attention is unmasked.

    Example:

    ```python
    both = keras_memvit.concatenate([digits, faces])
    ```
    """
    models = list(models)
    if not models:
        raise ValueError("`models` must hold at least one model. Received: models=[]")
    for model in models:
        check_masked(model, "models")
    first = models[0]
    owners = {}
    for model in models:
        if model.backbone is not first.backbone:
            same = [m.backbone.stored_fingerprint() for m in (first, model)]
            if first.backbone.fingerprint() == model.backbone.fingerprint() and (
                same[0] != same[1]
            ):
                raise ValueError(
                    "`models` must share one backbone: these are one of different "
                    "precision, and answers would change. Load the task files onto "
                    "one of them"
                )
            require_same_backbone(
                first.backbone,
                model.backbone.fingerprint(),
                model.backbone.image_shape,
                "`models` must share one backbone: the model of the tasks "
                f"{[spec.name for spec in model.specs]}",
            )
        for spec in model.specs:
            if spec.name in owners:
                raise ValueError(
                    "`models` must have distinct task names: build one of them under "
                    f"another name. Received the task '{spec.name}' twice"
                )
            owners[spec.name] = model
    specs = [spec for model in models for spec in model.specs]
    classifier = _classifier(models, specs)
    return assemble(first.backbone, specs, owners, classifier)


def extend(
    model: MemoryViT,
    tasks: Tasks,
    *,
    sees: Sequence[str] | None = None,
    sees_budget: float | None = None,
    num_memory_tokens: int = 5,
    readout: str | dict | Readout = "class_token",
    freeze: bool = True,
) -> MemoryViT:
    """Adds tasks that may see the model's tasks, and changes none of these.

    The paper's model extension: a new class token also attends to the class
    tokens and the memory of the tasks it sees.

    Args:
        model: a `MemoryViT`.
        tasks: a dict `{name: num_classes}` or a list of `TaskSpec`.
        sees: optional list of task names that every new task sees, besides
            what its own spec says.
        sees_budget: optional float in (0, 1]. The share of the memory tokens that
            these have which every new task reads at most, unless its own spec says;
            it learns which, see `TaskSpec`. Defaults to all.
        num_memory_tokens, readout: of tasks given as a dict, see `build`.
        freeze: bool. Whether the model's own tasks stop being trainable in
            the new model. Defaults to `True`. What these have chosen to read of each
            other is fixed then.

    Returns:
        A `MemoryViT` over the same backbone's weights.

    Raises:
        ValueError: if a task's name is taken, `sees` names no task, or there is a
            `sees_budget` without them.

    Example:

    ```python
    more = keras_memvit.extend(both, tasks={"glasses": 2}, sees=["faces"])
    ```
    """
    check_masked(model, "model")
    if isinstance(sees, str):
        raise ValueError(
            f"`sees` must be a list of task names, as [{sees!r}]. "
            f"Received: sees={sees!r}"
        )
    old = [spec.name for spec in model.specs]
    # What new tasks see is checked below, among old and new tasks together.
    given = [tasks] if not isinstance(tasks, (dict, list, tuple)) else tasks
    if not isinstance(given, dict) and not all(isinstance(s, TaskSpec) for s in given):
        parse_tasks(tasks)  # says what is wrong
    bare = parse_tasks(
        given if isinstance(given, dict) else [_alone(spec) for spec in given],
        num_memory_tokens,
        readout,
    )
    own = {} if isinstance(given, dict) else {spec.name: spec for spec in given}
    taken = [spec.name for spec in bare if spec.name in old]
    if taken:
        raise ValueError(
            f"`tasks` must have names that the model does not have yet: {old}. "
            f"Received: {taken}"
        )
    added = [own.get(spec.name, spec) for spec in bare]
    added = [_seeing(spec, sees or (), sees_budget) for spec in added]
    older = model.specs
    if freeze:
        values = {name: task.arrays() for name, task in model.task_layers.items()}
        older = fixed_specs(older, values)
    specs = parse_tasks([*older, *added])
    owners = dict.fromkeys(old, model)
    extended = assemble(model.backbone, specs, owners, model.classifier)
    if freeze:
        layers = extended.task_layers
        for name in old:
            layers[name].trainable = False
    return extended


def select(model: MemoryViT, names: str | Sequence[str]) -> MemoryViT:
    """A model of some of the tasks, and of those that they see.

    Args:
        model: a `MemoryViT`.
        names: a task name, or a list of them.

    Returns:
        A `MemoryViT` over the same backbone's weights, tasks in the model's
        order. What the named tasks see is kept, since they need it.

    Raises:
        ValueError: if a name is not a task of the model.

    Example:

    ```python
    faces = keras_memvit.select(both, "faces")
    ```
    """
    check_masked(model, "model")
    names = [names] if isinstance(names, str) else list(names)
    sees = visible_tasks(model.specs)
    unknown = [name for name in names if name not in sees]
    if unknown or not names:
        raise ValueError(
            f"`names` must be tasks of the model: {list(sees)}. Received: {names}"
        )
    kept = set(names).union(*(sees[name] for name in names))
    specs = [spec for spec in model.specs if spec.name in kept]
    owners = {spec.name: model for spec in specs}
    return assemble(model.backbone, specs, owners, model.classifier)


def rename(model, name, new_name):
    """A model of one task, which sees no others, under another name."""
    (spec,) = [spec for spec in model.specs if spec.name == name]
    renamed = MemoryViT(
        model.backbone,
        [dataclasses.replace(spec, name=new_name)],
        classifier=model.classifier,
        values={new_name: model.task_layers[name].arrays()},
    )
    renamed.remember()
    return renamed


def assemble(backbone, specs, owners, classifier, changed=None):
    """A model whose tasks are copies of those of their owners, if they have one.

    Args:
        backbone, specs, classifier: of the new model.
        owners: dict from task name to the model that has it.
        changed: optional dict from task name to the arrays that it has instead.
    """
    layers = {id(owner): owner.task_layers for owner in owners.values()}
    sources = {name: layers[id(owner)][name] for name, owner in owners.items()}
    # Through NumPy: JAX's trainer gives its arrays away to the next step.
    values = {name: source.arrays() for name, source in sources.items()}
    frozen = [name for name, source in sources.items() if not source.trainable]
    require_same_embedding(specs, classifier)
    changed = changed or {}
    model = MemoryViT(backbone, specs, classifier, frozen, {**values, **changed})
    sees = visible_tasks(specs) if changed else {}
    new = {name for name in values if changed.keys() & {name, *sees.get(name, ())}}
    model.remember({name: v for name, v in values.items() if name not in new})
    return model


def _classifier(models, specs):
    """The first classifier of which every task can take what it takes of one."""
    found = [m.classifier for m in models if m.classifier is not None]
    if len({id(classifier) for classifier in found}) > 1:
        for classifier in found:
            try:
                require_same_embedding(specs, classifier)
            except ValueError:
                continue
            return classifier
    return found[0] if found else None


def _seeing(spec, sees, budget):
    """A spec that also sees these tasks, with this budget if it has none."""
    own = budget if spec.sees_budget is None else spec.sees_budget
    sees = tuple(dict.fromkeys((*spec.sees, *sees)))
    return dataclasses.replace(spec, sees=sees, sees_budget=own)


def _alone(spec):
    return dataclasses.replace(spec, sees=(), sees_budget=None, reads=None)


def check_masked(model, argument):
    """Refuses anything but a `MemoryViT`: an unmasked task stands alone."""
    if isinstance(model, UnmaskedViT):
        raise ValueError(
            f"`{argument}` must have masked attention: an unmasked task changes every "
            "token, so no other can stand beside it. Received attention='unmasked'"
        )
    if not isinstance(model, MemoryViT):
        raise ValueError(
            f"`{argument}` must be a MemoryViT. Received one of type {type(model)}"
        )
