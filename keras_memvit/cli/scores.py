"""How well a task answered labelled images, by its kind."""

import numpy as np

from keras_memvit.recipes.scoring import SCORING
from keras_memvit.recipes.scoring import absolute_error
from keras_memvit.recipes.scoring import mean_average_precision
from keras_memvit.recipes.scoring import r2
from keras_memvit.recipes.text_table import text_table
from keras_memvit.report.measures import by_class
from keras_memvit.report.measures import wilson


def measure(answers, labels, spec):
    """Scores of all images and of each class, label or value: what JSON holds.

    Args:
        answers: what `predict` gave, `(n, C)`.
        labels: ints `(n,)`, or float32 `(n, C)`.
        spec: the `TaskSpec`.
    """
    names = spec.class_names or list(map(str, range(spec.num_classes)))
    return {"images": len(labels)} | _MEASURES[spec.kind](answers, labels, names)


def in_words(found, spec):
    """What `measure` found as lines of text."""
    table = text_table(found["rows"])
    words = f"'{spec.name}', {found['images']} images: "
    if spec.kind == "single_label":
        low, high = found["interval"]
        words += (
            f"{100 * found['accuracy']:.1f} % right "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f}), "
            f"cross-entropy {found['loss']:.3f}"
        )
    elif spec.kind == "multi_label":
        words += (
            f"mean average precision {found['mean_average_precision']:.3f}, "
            f"binary cross-entropy {found['loss']:.3f}"
        )
    else:
        words += (
            f"R2 {found['r2']:.3f}, "
            f"mean absolute error {found['mean_absolute_error']:.4g}"
        )
    return f"{table}\n{words}"


def _single_label(logits, labels, names):
    hits = logits.argmax(-1) == labels
    interval = wilson(int(hits.sum()), len(hits))
    return {
        "accuracy": float(hits.mean()),
        "interval": [float(bound) for bound in interval],
        "loss": SCORING["single_label"].loss(logits, labels),
        "rows": [
            {
                "class": row["name"],
                "images": row["images"],
                "recall": row["recall"],
                "precision": row["precision"],
            }
            for row in by_class(labels, logits.argmax(-1), names)
        ],
    }


def _multi_label(logits, labels, names):
    rows = []
    for i, name in enumerate(names):
        known = labels[:, i] >= 0
        said, there = logits[known, i] >= 0, labels[known, i] >= 0.5
        rows.append(
            {
                "label": name,
                "images": int(there.sum()),
                "recall": _share(said & there, there),
                "precision": _share(said & there, said),
                "average_precision": (
                    mean_average_precision(logits[:, [i]], labels[:, [i]])
                    if there.any()
                    else None
                ),
            }
        )
    return {
        "mean_average_precision": mean_average_precision(logits, labels),
        "loss": SCORING["multi_label"].loss(logits, labels),
        "rows": rows,
    }


def _regression(values, labels, names):
    rows = [
        {
            "value": name,
            "images": int(np.isfinite(labels[:, i]).sum()),
            "r2": r2(values[:, [i]], labels[:, [i]]),
            "mean_absolute_error": absolute_error(values[:, [i]], labels[:, [i]]),
        }
        for i, name in enumerate(names)
    ]
    return {
        "r2": r2(values, labels),
        "mean_absolute_error": absolute_error(values, labels),
        "rows": rows,
    }


def _share(part, whole):
    return float(part.sum() / whole.sum()) if whole.any() else None


_MEASURES = {
    "single_label": _single_label,
    "multi_label": _multi_label,
    "regression": _regression,
}
