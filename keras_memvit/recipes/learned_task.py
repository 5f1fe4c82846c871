"""Which of a source's tasks `learn` learns, and the examples that have its labels."""

import numpy as np

from keras_memvit.data.found import LABEL
from keras_memvit.data.found import has_label
from keras_memvit.data.load import LabelledImages
from keras_memvit.tasks.spec import TaskSpec


def choose_task(found, name, kind):
    """The `TaskSpec` of a `LabelledImages` that is to be learned.

    Args:
        found: `LabelledImages`.
        name: which of several, or None.
        kind: `"auto"`, or the kind that it must have.

    Raises:
        ValueError: if there are several and `name` is none of them, or it has
            another kind.
    """
    tasks = found.tasks
    if not tasks:  # made by hand
        names = list(found.class_names)
        tasks = [TaskSpec(LABEL, len(names), class_names=names)]
    by_name = {task.name: task for task in tasks}
    if len(tasks) > 1 and name not in by_name:
        raise ValueError(
            "`source` has the labels of several tasks: say which by `name`, one of "
            f"{list(by_name)}. Received: name={name!r}"
        )
    task = tasks[0] if len(tasks) == 1 else by_name[name]
    if kind not in ("auto", task.kind):
        raise ValueError(
            f"`kind` must be that of the labels of `source`, '{task.kind}'. "
            f"Received: kind={kind!r}"
        )
    return task


def only_task(found, task):
    """The images that have a label of one task, with that label, in order.

    Args:
        found: `LabelledImages`.
        task: the `TaskSpec`.

    Returns:
        A `LabelledImages`.
    """

    def part(images):
        if images is None:
            return None
        examples = [_of_task(example, task.name) for example in images.examples]
        images = images.ordered()
        images.examples = [x for x in examples if has_label(x[1], [task])]
        images.set_epoch(0)
        return images

    parts = part(found.train), part(found.validation)
    names = list(task.class_names or ())
    return LabelledImages(*parts, names, found.skipped, [task])


def all_examples(found):
    """Every image in one data set, all labels, and which were for validation.

    Args:
        found: `LabelledImages` of one task.

    Returns:
        `(images, labels, held_out)`: `ImageBatches`; ints `(n,)` or float32 `(n, C)`;
        bools `(n,)`.
    """
    images = found.train.ordered()
    if found.validation is not None:
        images.examples = [*images.examples, *found.validation.examples]
        images.set_epoch(0)
    labels = np.array([label for _, label in images.examples])
    return images, labels, np.arange(len(labels)) >= len(found.train.examples)


def _of_task(example, name):
    image, label = example
    return (image, label[name]) if isinstance(label, dict) else example
