"""Which of a source's tasks `learn` learns, and the examples that have its labels."""

import numpy as np

from keras_memvit.data.found import LABEL
from keras_memvit.data.found import has_label
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


def all_examples(found, task):
    """Every image in one data set, all labels, and which were for validation.

    Images without a label of the task are left out.

    Args:
        found: `LabelledImages`.
        task: the `TaskSpec`.

    Returns:
        `(images, labels, held_out)`: `ImageBatches`; ints `(n,)` or float32 `(n, C)`;
        bools `(n,)`.
    """
    parts = [found.train.examples]
    parts += [] if found.validation is None else [found.validation.examples]
    parts = [[_of_task(example, task.name) for example in part] for part in parts]
    parts = [[x for x in part if has_label(x[1], [task])] for part in parts]
    images = found.train.ordered()
    images.examples = [example for part in parts for example in part]
    images.set_epoch(0)
    labels = np.array([label for _, label in images.examples])
    return images, labels, np.arange(len(labels)) >= len(parts[0])


def _of_task(example, name):
    image, label = example
    return (image, label[name]) if isinstance(label, dict) else example
