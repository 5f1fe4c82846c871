"""`keras-memvit evaluate`."""

from typing import Annotated

import numpy as np
import typer

from keras_memvit.cli import console
from keras_memvit.cli.options import Backbone
from keras_memvit.cli.options import Source
from keras_memvit.cli.task_files import load as load_tasks
from keras_memvit.data.load import load as load_images
from keras_memvit.recipes.text_table import text_table

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

    Every image of SOURCE is used; its class folders are named as the task's classes.

    Example: keras-memvit evaluate birds/birds.safetensors photos/birds_test
    """
    model = load_tasks([tasks], backbone)
    spec = _spec(model, task)
    images, labels = _examples(source, spec, model.backbone.image_shape, batch_size)
    logits = model.predict(images, verbose=0)[spec.name]
    found = measure(logits, labels, spec)
    if as_json:
        console.answer_json({"task": spec.name, **found})
        return
    console.answer(text_table(found.pop("classes")))
    low, high = found["interval"]
    console.answer(
        f"'{spec.name}': {100 * found['accuracy']:.1f} % of {found['images']} images "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f}), "
        f"cross-entropy {found['loss']:.3f}"
    )


def measure(logits, labels, spec):
    """Accuracy, its interval, cross-entropy, and each class.

    The interval is Wilson's (1927), of 95 %.
    """
    right = logits.argmax(-1) == labels
    shifted = logits - logits.max(-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    names = spec.class_names or list(map(str, range(spec.num_classes)))
    classes = []
    for label, name in enumerate(names):
        is_it, said = labels == label, logits.argmax(-1) == label
        hits = int(np.sum(is_it & said))
        classes.append(
            {
                "class": name,
                "images": int(is_it.sum()),
                "recall": hits / int(is_it.sum()) if is_it.any() else None,
                "precision": hits / int(said.sum()) if said.any() else None,
            }
        )
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "interval": wilson(int(right.sum()), len(right)),
        "loss": float(-log[np.arange(len(labels)), labels].mean()),
        "classes": classes,
    }


def wilson(hits, count, z=1.96):
    """The 95 % interval of a share, Wilson's."""
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    half /= 1 + z**2 / count
    return float(middle - half), float(middle + half)


def _spec(model, task):
    specs = {spec.name: spec for spec in model.specs}
    if task is None and len(specs) == 1:
        return next(iter(specs.values()))
    if task not in specs:
        raise ValueError(f"--task must be one of {list(specs)}. Received: {task}")
    return specs[task]


def _examples(source, spec, image_shape, batch_size):
    """Every image of a source in batches, and its label in the task's words."""
    found = load_images(
        source,
        image_size=image_shape[:2],
        batch_size=batch_size,
        augment=None,
        shuffle=False,
        validation_split=0.5,
    )
    known = list(spec.class_names or map(str, range(spec.num_classes)))
    strange = sorted(set(found.class_names) - set(known))
    if strange:
        raise ValueError(
            f"SOURCE must have classes of the task '{spec.name}': {known}. "
            f"Received others: {strange}"
        )
    images = found.train.ordered()
    images.examples = [*found.train.examples, *found.validation.examples]
    images.set_epoch(0)
    to_task = np.array([known.index(name) for name in found.class_names])
    return images, to_task[[label for _, label in images.examples]]
