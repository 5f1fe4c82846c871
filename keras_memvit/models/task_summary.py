"""A table of a model's tasks."""

from keras_memvit.readouts import ClassToken
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import BASE

_HEADER = (
    "task",
    "classes",
    "readout",
    "tokens",
    "parameters",
    "of backbone",
    "trains",
    "sees",
)


def task_summary(model):
    """The table that `MemoryViT.task_summary` prints, as text.

    Tokens count the class token, and memory and queries of all layers; the share of
    the backbone counts all of a task's parameters.
    """
    total = model.backbone.count_params()
    sees = visible_tasks(model.specs)
    rows = [_HEADER]
    for spec in model.specs:
        layer = model.task_layers[spec.name]
        parameters = layer.count_params()
        layers = model.backbone.num_layers
        rows.append(
            (
                spec.name,
                f"{spec.num_classes:,}",
                _readout(spec),
                f"1 + {layers} x {_tokens_a_layer(spec)}",
                f"{parameters:,}",
                f"{parameters / total:.3%}",
                "yes" if spec.name in model.trained_tasks else "no",
                ", ".join(sees[spec.name]) or "-",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    attention = f"attention: {model.attention}"
    base = ", base classifier kept" if BASE in model.output else ""
    return "\n".join(
        [*lines, f"backbone: {total:,} frozen parameters, {attention}{base}"]
    )


def _readout(spec):
    """The readout, and what changes the class token's way."""
    norm = "feature_norm" if spec.feature_norm else None
    return " + ".join(filter(None, (spec.readout.name, spec.adapter, norm)))


def _tokens_a_layer(spec):
    if spec.readout == ClassToken():
        return spec.num_memory_tokens
    return spec.num_memory_tokens + spec.readout.num_queries
