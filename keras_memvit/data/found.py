"""What a source of labelled images holds, before it is split into batches."""

import dataclasses

import numpy as np

from keras_memvit.tasks.spec import TaskSpec

LABEL = "label"  # the task's name where the source does not say one


@dataclasses.dataclass
class Found:
    """Examples and the tasks that their labels are of.

    Attributes:
        train: list of `(image, label)`; an image is a function that returns uint8
            `(h, w, 3)`, a label an int, a float32 row `(C,)`, or of several tasks a
            dict of such by name.
        validation: the same, or None where the source has no such part.
        tasks: list of `TaskSpec`.
        skipped: list of `(file, reason)`.
    """

    train: list
    validation: list | None
    tasks: list[TaskSpec]
    skipped: list[tuple[str, str]]

    @property
    def is_classes(self):
        """Whether each image has one label, a class."""
        return len(self.tasks) == 1 and self.tasks[0].kind == "single_label"


def single_label(train, validation, class_names, skipped=()):
    """`Found` of one task whose labels are classes."""
    names = list(class_names)
    if not names:
        raise ValueError(
            "`source` must have images of at least two classes. Received those of 0: []"
        )
    spec = TaskSpec(LABEL, len(names), class_names=names)
    return Found(train, validation, [spec], list(skipped))


def labels_by_image(specs, columns):
    """One label an image: of the only task, or a dict by task name.

    Args:
        specs: list of `TaskSpec`.
        columns: list of lists of labels, one a task.
    """
    if len(specs) == 1:
        return list(columns[0])
    names = [spec.name for spec in specs]
    return [dict(zip(names, row)) for row in zip(*columns)]


def has_label(label, specs):
    """Whether any of these tasks has a label here."""
    if isinstance(label, dict):
        return any(has_label(label[spec.name], [spec]) for spec in specs)
    (spec,) = specs
    if spec.kind == "regression":
        return bool(np.isfinite(label).any())
    return bool(np.any(label != -1))
