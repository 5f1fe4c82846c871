"""What a kind of task is trained by: its loss, its metrics, what its logits mean."""

import dataclasses

from keras import ops


@dataclasses.dataclass(frozen=True)
class Kind:
    """The defaults of one kind of task.

    Attributes:
        loss: the loss of `compile()`.
        metrics: the metrics of `compile()`.
        link: how logits become probabilities, a key of `LINKS`, where the loss
            does not say otherwise.
    """

    loss: str
    metrics: tuple
    link: str | None


KINDS = {
    "single_label": Kind(
        "sparse_categorical_crossentropy", metrics=("accuracy",), link="softmax"
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
    return KINDS[getattr(spec, "kind", "single_label")]
