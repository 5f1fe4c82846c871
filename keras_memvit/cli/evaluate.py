"""`keras-memvit evaluate`."""

from typing import Annotated

import numpy as np
import typer

from keras_memvit.cli import console
from keras_memvit.cli.options import Backbone
from keras_memvit.cli.options import Source
from keras_memvit.cli.scores import in_words
from keras_memvit.cli.scores import measure
from keras_memvit.cli.task_files import load as load_tasks
from keras_memvit.data.load import load as load_images
from keras_memvit.recipes.learned_task import all_examples
from keras_memvit.recipes.learned_task import choose_task
from keras_memvit.recipes.learned_task import only_task

Tasks = Annotated[str, typer.Argument(metavar="TASK", help="The task's file.")]
Task = Annotated[str | None, typer.Option(help="Which task, where TASK has several.")]


@console.verb
def evaluate(
    tasks: Tasks,
    source: Source,
    backbone: Backbone = None,
    task: Task = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Measure a task on labelled images that it was not trained on.

    Every image of SOURCE is used; its classes are named as the task's. Of a manifest
    the column that is called as the task.

    Example: keras-memvit evaluate birds/birds.safetensors photos/birds_test
    """
    model = load_tasks([tasks], backbone)
    spec = _spec(model, task)
    images, labels = _examples(source, spec, model.backbone.image_shape, batch_size)
    answers = model.predict(images, verbose=0)[spec.name]
    found = measure(answers, labels, spec)
    if as_json:
        console.answer_json({"task": spec.name, "kind": spec.kind, **found})
    else:
        console.answer(in_words(found, spec))


def _spec(model, task):
    specs = {spec.name: spec for spec in model.specs}
    if task is None and len(specs) == 1:
        return next(iter(specs.values()))
    if task not in specs:
        raise ValueError(f"--task must be one of {list(specs)}. Received: {task}")
    return specs[task]


def _examples(source, spec, image_shape, batch_size):
    """Every labelled image of a source in batches, and labels as the task has them."""
    found = load_images(
        source,
        image_size=image_shape[:2],
        batch_size=batch_size,
        augment=None,
        shuffle=False,
        validation_split=0,
        resizing=spec.resizing,
    )
    task = choose_task(found, spec.name, spec.kind)
    images, labels, _ = all_examples(only_task(found, task))
    if not len(labels):
        raise ValueError(f"SOURCE must have labels of the task. Received: {source}")
    return images, _as_in(spec, task, labels)


def _as_in(spec, task, labels):
    """Labels of a source's task by the names of a model's."""
    if spec.kind == "regression":
        if task.num_classes != spec.num_classes:
            raise ValueError(
                f"SOURCE must have {spec.num_classes} values an image for the task "
                f"'{spec.name}'. Received: {task.num_classes}"
            )
        return labels
    known = list(spec.class_names or map(str, range(spec.num_classes)))
    given = list(task.class_names or map(str, range(task.num_classes)))
    strange = sorted(set(given) - set(known))
    if strange:
        raise ValueError(
            f"SOURCE must have classes of the task '{spec.name}': {known}. "
            f"Received others: {strange}"
        )
    places = np.array([known.index(name) for name in given])
    if spec.kind == "single_label":
        return places[labels]
    rows = np.full((len(labels), spec.num_classes), -1.0, "float32")
    rows[:, places] = labels
    return rows
