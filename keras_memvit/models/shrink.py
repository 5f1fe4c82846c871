"""`shrink`: a task whose head takes only the inputs that matter most."""

import dataclasses
import numbers
from typing import Any

import numpy as np
from keras import ops

from keras_memvit.models.compose import assemble
from keras_memvit.models.compose import check_masked
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unified.read import batches_of
from keras_memvit.training.kinds import LINKS
from keras_memvit.training.kinds import kind_of
from keras_memvit.training.labels import split_labels


def shrink(
    model: MemoryViT, name: str, keep: float = 0.3, data: Any = None
) -> MemoryViT:
    """Keeps the share of a task's head inputs that matter most: a smaller task file.

    With an image's features `z`, the head's outputs `h = z W + b` and a scale `a_i = 1`
    on each input, inputs are ranked by the empirical Fisher information of the scales,
    the mean over the labelled images `(x, y)` of

        (d log p(y | x) / d a_i)^2 = (z_i (W d log p(y | x) / dh)_i)^2

    one image at a time: how much the answers depend on the input being there. `p` is
    the softmax of the head's outputs; of the kind `"multi_label"` the sigmoid of each,
    of a regression a Gaussian of the targets' scale around it.

    The `round(keep F)` best of `F` inputs stay, at least one, with their weights: the
    head's kernel is `(kept, C)` then, and `TaskSpec.head_inputs` has their indices, a
    bit each in the file. Only the head shrinks: class token, memory and what the
    readout owns stay whole, also where they feed dropped inputs alone. The answers
    change, so train the new model some steps more. Deep readouts, with an input for
    each of many queries, gain most.

    Args:
        model: a `MemoryViT` whose task is trained.
        name: str. The task.
        keep: float in (0, 1]. With 1 nothing changes, and `data` is not needed.
            Defaults to `0.3`.
        data: the task's labelled images: `(images, labels)`, a `StateStore`, or a data
            set of batches `(inputs, labels)`, read once; labels as in `fit`. Images
            without a label of the task are left out.

    Returns:
        A `MemoryViT` over the same backbone's weights, other tasks as they are.

    Raises:
        ValueError: if `keep` is not in (0, 1], the model has no such task, or `data`
            has no labels of it.

    Example:

    ```python
    small = keras_memvit.shrink(model, "digits", keep=0.3, data=(images, labels))
    keras_memvit.save_task(small, "digits", "digits.safetensors")
    ```

    Reference:
        - [Theis et al., 2018](https://arxiv.org/abs/1801.05787), Fisher pruning
        - [Sung et al., 2021](https://arxiv.org/abs/2111.09839), FISH mask
    """
    check_masked(model, "model")
    number = isinstance(keep, numbers.Real) and not isinstance(keep, bool)
    if not (number and 0.0 < keep <= 1.0):
        raise ValueError(
            "`keep`, the share of the head's inputs that stay, must be a number above "
            f"0 and at most 1. Received: keep={keep!r}"
        )
    layers = model.task_layers
    if name not in layers:
        raise ValueError(
            f"`name` must be a task of the model: {list(layers)}. Received: {name!r}"
        )
    owners = dict.fromkeys(layers, model)
    if keep == 1:
        return assemble(model.backbone, model.specs, owners, model.classifier)
    spec, arrays = layers[name].spec, layers[name].arrays()
    information = head_fisher(model, name, data)
    count = max(round(keep * len(information)), 1)
    # Stable: of equal ones the first.
    kept = np.sort(np.argsort(-information, kind="stable")[:count])
    inputs = kept if spec.head_inputs is None else np.array(spec.head_inputs)[kept]
    smaller = dataclasses.replace(spec, head_inputs=tuple(inputs.tolist()))
    specs = [smaller if own is spec else own for own in model.specs]
    changed = {name: {**arrays, "head/kernel": arrays["head/kernel"][kept]}}
    return assemble(model.backbone, specs, owners, model.classifier, changed)


def head_fisher(model, name, data):
    """The empirical Fisher information of a scale on each of a head's inputs.

    Args: as of `shrink`.

    Returns:
        float64 `(F,)`.
    """
    layer, total, count = model.task_layers[name], 0.0, 0
    if data is None:
        raise _refused(name, "there is none, and it decides which inputs stay")
    for batch in batches_of(model, data):
        if not isinstance(batch, (list, tuple)) or len(batch) < 2 or batch[1] is None:
            raise _refused(name, "it has no labels")
        labels = batch[1]
        if isinstance(labels, dict):
            if labels.get(name) is None:
                raise _refused(name, f"it has labels of {sorted(labels)} alone")
            labels = labels[name]
        features = model.encoder.head_features(_tensors(batch[0]), name)
        if len(labels) != len(features):
            raise _refused(
                name,
                "it must have one label an image. Received: "
                f"{len(features)} images and {len(labels)} labels in a batch",
            )
        score, valid = _scores(layer, features, labels)
        kernel = ops.convert_to_numpy(layer.variables_by_name["head/kernel"])
        features = ops.convert_to_numpy(features).astype("float64")
        gradients = features * (score.astype("float64") @ kernel.T)  # (B, F)
        total = total + (gradients[valid] ** 2).sum(axis=0)
        count += valid.sum()
    if not count:
        raise _refused(name, "no image has a label")
    return total / count


def _scores(layer, features, labels):
    """`d log p(y | x) / dh` `(B, C)`, and which images have a label; NumPy."""
    spec, link = layer.spec, kind_of(layer.spec).link
    binary = link == "softmax" and spec.num_classes == 1  # yes or no
    link = "sigmoid" if binary else link
    found = split_labels(labels, spec, 2 if binary else spec.num_classes, link)
    if float(ops.convert_to_numpy(found.errors)):
        raise _refused(spec.name, "some labels are out of range")
    outputs, rows = layer(features), found.rows
    if spec.kind == "regression":
        outputs, rows = layer.standardize(outputs), layer.standardize(rows)
    elif link == "softmax":  # a distribution
        rows = rows / ops.maximum(ops.sum(rows, axis=-1, keepdims=True), 1e-7)
    score = rows - LINKS[link](outputs)
    if found.columns is not None:
        score = score * found.columns
    return ops.convert_to_numpy(score), ops.convert_to_numpy(found.valid) > 0


def _tensors(inputs):
    if isinstance(inputs, dict):
        return {key: ops.convert_to_tensor(value) for key, value in inputs.items()}
    return ops.convert_to_tensor(inputs)


def _refused(name, reason):
    return ValueError(f"`data` of task '{name}': {reason}")
