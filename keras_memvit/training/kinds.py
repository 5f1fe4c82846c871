"""What a kind of task is trained by: its loss, its metrics, what its logits mean."""

import dataclasses

from keras import ops


@dataclasses.dataclass(frozen=True)
class Kind:
    """The defaults of one kind of task.

    Attributes:
        loss: the loss of `compile()`.
        metrics: the metrics of `compile()`; the first is the one to choose tasks by.
        link: how logits become probabilities, a key of `LINKS`, where the loss
            does not say otherwise.
        smaller_is_better: bool, of the first metric.
    """

    loss: str
    metrics: tuple
    link: str | None
    smaller_is_better: bool = False


KINDS = {
    "single_label": Kind(
        "sparse_categorical_crossentropy", metrics=("accuracy",), link="softmax"
    ),
    "multi_label": Kind(
        "binary_crossentropy",
        metrics=("mean_average_precision", "f1"),
        link="sigmoid",
    ),
    "regression": Kind(
        "mean_squared_error", metrics=("mae",), link=None, smaller_is_better=True
    ),
}

# From logits (B, C) to what metrics call predictions, by the loss' meaning of them.
LINKS = {
    "softmax": lambda logits: ops.softmax(logits, axis=-1),
    "sigmoid": ops.sigmoid,
    None: lambda outputs: outputs,  # trained as values: squared error, hinge
}


def kind_of(spec):
    """The `Kind` of a `TaskSpec`."""
    return KINDS[spec.kind]
