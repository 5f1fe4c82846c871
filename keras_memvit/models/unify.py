"""`unify`: one answer over the classes of all tasks."""

from collections.abc import Sequence

import numpy as np

from keras_memvit.models.compose import check_masked
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unified.answer import ALL
from keras_memvit.models.unified.answer import METHODS
from keras_memvit.models.unified.answer import SCORES
from keras_memvit.models.unified.answer import UNKNOWN
from keras_memvit.models.unified.answer import Answer
from keras_memvit.models.unified.answer import unknown_scores
from keras_memvit.models.unified.base_features import num_base_features
from keras_memvit.models.unified.evidence import all_rows
from keras_memvit.models.unified.evidence import evidence_key
from keras_memvit.models.unified.evidence import gather
from keras_memvit.models.unified.gaussians import GaussianStatistics
from keras_memvit.models.unified.read import read
from keras_memvit.models.unified.unified_vit import UnifiedViT

QUANTILE = 0.95  # of held-out images that count as known
HELD_OUT = 5  # one image of so many is held out
REUSES = ("ridge", "task_posterior")  # statistics of a task say nothing of others


def unify(
    model: MemoryViT,
    data: dict | None = None,
    *,
    tasks: Sequence[str] | None = None,
    method: str = "ridge",
    unknown: bool = True,
    validation_data: dict | None = None,
    num_random_features: int = 2048,
    seed: int = 0,
) -> UnifiedViT:
    """Adds an output `"all"`, for when nobody says which task an image belongs to.

    The tasks are done; nothing of them changes, and their own outputs stay equal. On
    the frozen features `f` of an image (the backbone's class token and mean patch) and
    the tasks' logits `z`, with `C` the classes of all tasks:

    - `"ridge"`: `relu(f P) W + b` in closed form, `P` random. Its statistics are sums
      over images: the order of tasks does not matter, and a task that is taken out
      leaves nothing;
    - `"max"`: the largest logit, each task's calibrated by a temperature and an offset;
    - `"gates"`: cascaded gates, by which each new task may close former ones;
    - `"task_posterior"`: `log p(f | task) + log p(class | task)`, Gaussians over `f`.

    Logits of `"all"` are calibrated: their softmax is a probability.

    Args:
        model: a `MemoryViT` whose tasks are trained. Or what `unify` returned: of its
            tasks no data is needed again (with `"ridge"`, `"task_posterior"`).
        data: dict from task name to its labelled images: `(images, labels)`, a
            `StateStore`, or a data set of batches. Images without a label of the task
            (-1) are left out.
        tasks: optional names of the tasks whose classes count. Defaults to all.
        method: as above. Defaults to `"ridge"`.
        unknown: bool. Whether to add `"unknown"` `(B, 2)`: how far an image is from
            all tasks, by energy and by Mahalanobis distance, each minus what 95 % of
            held-out images stay below. Above 0 it belongs to no task.
        validation_data: optional, as `data`: decides temperatures and thresholds.
            By default a fifth of each task's data is held out for them.
        num_random_features: int, the width of `P`, with `"ridge"`. Defaults to `2048`.
        seed: int. Decides `P` and what is held out.

    Returns:
        A `UnifiedViT`: predicts every task's logits as before, `"all"` `(B, C)` and
        `"unknown"`. Its `classes` says what the columns of `"all"` are.

    Raises:
        ValueError: if an argument is not as above; the message says what would be.

    Example:

    ```python
    one = keras_memvit.unify(both, {"digits": digit_store, "faces": (images, labels)})
    one.predict(images)["all"]  # (B, 12)
    one.classes[10]  # ("faces", "0")
    fewer = keras_memvit.unify(one, tasks=["digits"])
    ```

    Reference:
        - [McDonnell et al., 2023](https://arxiv.org/abs/2307.02251), ridge on random
          features
        - [Pomponi et al., 2024](https://arxiv.org/abs/2402.01262), cascaded gates
        - [Lee et al., 2018](https://arxiv.org/abs/1807.03888), Mahalanobis distance
        - [Liu et al., 2020](https://arxiv.org/abs/2010.03759), energy
    """
    check_masked(model, "model")
    names = _names(model, tasks)
    _check_options(method, num_random_features)
    options = {
        "method": method,
        "unknown": bool(unknown),
        "seed": seed,
        "num_random_features": num_random_features if method == "ridge" else 0,
        "backbone": model.backbone.fingerprint(),
    }
    evidence = _evidence(model, names, data, validation_data, options)
    sizes = {name: evidence[name].num_classes for name in names}
    arrays = fit_answer(evidence, options)
    answer = Answer(
        method,
        sizes,
        num_base_features(model.backbone),
        options["num_random_features"],
        options["unknown"],
    )
    unified = UnifiedViT(
        model.backbone,
        model.specs,
        answer,
        classifier=model.classifier,
        frozen_tasks=[spec.name for spec in model.specs],
    )
    for name, layer in unified.task_layers.items():
        layer.set_weights(model.task_layers[name].get_weights())
    answer.assign_arrays(arrays)
    unified.remember(
        {name: task.arrays() for name, task in unified.task_layers.items()}
    )
    unified.evidence = evidence
    return unified


def fit_answer(evidence, options):
    """The answer's arrays."""
    parts = list(evidence.values())
    held = all_rows(evidence, "held")
    if options["method"] == "gates":
        options = {**options, "rows": all_rows(evidence, "fitted")}
    arrays = METHODS[options["method"]].fit(parts, held, options)
    if options["unknown"]:
        arrays.update(GaussianStatistics.joined(e.gaussian for e in parts).arrays())
        sizes = {name: e.num_classes for name, e in evidence.items()}
        width = held.features.shape[1]
        answer = Answer(options["method"], sizes, width, options["num_random_features"])
        arrays["thresholds"] = np.zeros(len(SCORES))
        w = {name: np.asarray(a, "float32") for name, a in arrays.items()}
        logits = dict(zip(evidence, held.logits))
        found = answer.answers(w, held.features, logits)[ALL]
        found = _to_numpy(found)
        scores = unknown_scores(np, w, held.features, found)
        arrays["thresholds"] = np.quantile(scores, QUANTILE, axis=0)
    return arrays


def _to_numpy(x):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(x), "float32")


def _evidence(model, names, data, validation_data, options):
    """A dict from task name to `Evidence`, of new data or as it is known."""
    data, validation_data = dict(data or {}), dict(validation_data or {})
    known = getattr(model, "evidence", None) or {}
    for argument, given in (("data", data), ("validation_data", validation_data)):
        extra = sorted(set(given) - set(names))
        if extra:
            raise ValueError(
                f"`{argument}` must hold tasks among {names}. Received: {extra}"
            )
    usable = options["method"] in REUSES
    kept = {
        name: e
        for name, e in known.items()
        if usable and e.key == evidence_key(options) and name not in data
    }
    missing = [name for name in names if name not in data and name not in kept]
    if missing:
        raise ValueError(
            "`data` must hold labelled images of each task that is unified for the "
            f"first time, or otherwise than before. Missing: {missing}"
        )
    found = {}
    for name in names:
        if name in kept:
            found[name] = kept[name]
            continue
        fitted = read(model, name, data[name], "data")
        if name in validation_data:
            held = read(model, name, validation_data[name], "validation_data")
        else:
            fitted, held = hold_out(fitted, options["seed"])
        size = model.task_layers[name].spec.num_classes
        found[name] = gather(name, size, fitted, held, options)
    return found


def hold_out(rows, seed):
    """A fifth of each class, and the rest; a class of one image is in both."""
    features, labels, logits = rows
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        held[own[: max(1, len(own) // HELD_OUT)]] = True
    single = np.isin(labels, np.flatnonzero(np.bincount(labels) == 1))

    def part(mask):
        own = {name: value[mask] for name, value in logits.items()}
        return features[mask], labels[mask], own

    return part(~held | single), part(held)


def _names(model, tasks):
    if isinstance(tasks, str):
        tasks = [tasks]
    present = [spec.name for spec in model.specs]
    names = present if tasks is None else list(tasks)
    if not names or set(names) - set(present) or len(set(names)) < len(names):
        raise ValueError(
            f"`tasks` must be distinct tasks of the model: {present}. Received: {names}"
        )
    taken = [name for name in (ALL, UNKNOWN) if name in present]
    if taken:
        raise ValueError(
            f"`model` must have no tasks named {[ALL, UNKNOWN]}, which are outputs of "
            f"the unified model. Received: {taken}"
        )
    kinds = {
        spec.name: getattr(spec, "kind", "single_label")
        for spec in model.specs
        if spec.name in names
    }
    others = {name: kind for name, kind in kinds.items() if kind != "single_label"}
    if others:
        raise ValueError(
            "`tasks` must be of the kind 'single_label', where an image has one "
            f"class. Received: {others}"
        )
    return names


def _check_options(method, num_random_features):
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {list(METHODS)}. Received: method={method!r}"
        )
    if not isinstance(num_random_features, int) or num_random_features < 1:
        raise ValueError(
            "`num_random_features` must be an int of at least 1. "
            f"Received: num_random_features={num_random_features!r}"
        )
