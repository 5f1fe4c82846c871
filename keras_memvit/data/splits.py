"""Which examples are trained on and which are held out."""

import numpy as np

from keras_memvit.training.labels import UNLABELLED


def in_classes(kind):
    """Refuses any kind but classes, where the source can have no other."""
    if kind not in ("auto", "single_label"):
        raise ValueError(
            "`kind` must be 'auto' or 'single_label' where `source` has classes. "
            f"Received: kind={kind!r}"
        )


def require_classes(found):
    """Refuses a source with fewer than two classes, or with one to validate alone."""
    for spec in found.tasks:
        if spec.kind != "single_label":
            continue
        parts = [
            class_ids(spec, part) for part in (found.train, found.validation or ())
        ]
        trained, validated = parts
        ids = sorted(trained | validated) if found.is_classes else sorted(trained)
        if len(ids) < 2:
            what = "" if found.is_classes else f" of the task '{spec.name}'"
            names = [spec.class_names[k] for k in sorted(ids)]
            raise ValueError(
                f"`source` must have images of at least two classes{what}. Received "
                f"those of {len(names)}: {names}"
            )


def class_ids(spec, examples):
    """The classes that examples have of a task, a set of ints."""
    labels = (label for _, label in examples)
    ids = {y[spec.name] if isinstance(y, dict) else y for y in labels}
    return {k for k in ids if k >= 0}


def limit(found, examples, count, rng):
    """At most this many examples a class, drawn at random."""
    if count is None:
        return examples
    if not found.is_classes:
        raise ValueError(
            "`max_per_class` must be None where an image has not one class. "
            f"Received: max_per_class={count}"
        )
    kept = []
    for group in _by_class(examples).values():
        rows = np.sort(rng.permutation(len(group))[:count])
        kept += [group[row] for row in rows]
    return kept


def split(found, examples, share, rng):
    """Some examples to train and some to validate, where there are classes by class."""
    if found.is_classes:
        return split_by_class(examples, share, rng)
    if len(examples) < 2:
        raise ValueError(
            "`source` must have at least two images, to train and to validate. "
            f"Received: {len(examples)}"
        )
    count = min(max(round(len(examples) * share), 1), len(examples) - 1)
    chosen = set(rng.permutation(len(examples))[:count].tolist())
    train = [x for row, x in enumerate(examples) if row not in chosen]
    return train, [x for row, x in enumerate(examples) if row in chosen]


def split_by_class(examples, share, rng):
    """The same share of every class, at least one example, on either side."""
    train, held_out = [], []
    for label, group in _by_class(examples).items():
        if label == UNLABELLED and len(group) < 2:
            train += group
            continue
        if len(group) < 2:
            raise ValueError(
                "`source` must have at least two images of every class, to train and "
                f"to validate. Received one of the class {label}"
            )
        count = min(max(round(len(group) * share), 1), len(group) - 1)
        chosen = set(rng.permutation(len(group))[:count].tolist())
        for row, example in enumerate(group):
            (held_out if row in chosen else train).append(example)
    return train, held_out


def _by_class(examples):
    found = {}
    for example in examples:
        found.setdefault(example[1], []).append(example)
    return found
