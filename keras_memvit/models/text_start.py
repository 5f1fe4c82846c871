"""Tasks whose heads start as zero-shot classifiers: `TaskSpec(head_init="text")`."""

import dataclasses

import numpy as np
from keras import ops

from keras_memvit.backbones.text_head import text_head
from keras_memvit.models.image_embedding import embedding_fingerprint
from keras_memvit.models.task_weights import HEAD
from keras_memvit.readouts import ImageEmbedding


def text_starts(backbone, specs, preprocessor):
    """Specs as a model takes them, and the heads that they start from.

    Args:
        backbone, preprocessor: as of `text_head`.
        specs: list of `TaskSpec`.

    Returns:
        The specs, with a readout in place of each `head_init`; and a dict from the
        names of those tasks to their `TextClassifier`.
    """
    by_names, heads = {}, {}
    for spec in specs:
        if spec.head_init == "text":
            names = spec.class_names
            if names not in by_names:  # the tower runs once for tasks that are alike
                head = text_head(backbone, names, preprocessor=preprocessor)
                by_names[names] = head
            heads[spec.name] = by_names[names]
    return [_resolved(s, heads[s.name]) if s.name in heads else s for s in specs], heads


def start_from(task, head):
    """Gives a task's `TaskWeights` a zero-shot head `(E, C)`; zeros elsewhere.

    The head's logits are then `s z T / |z| + b`, those of the text head, whatever the
    class token has found.
    """
    kernel, bias = (task.variables_by_name[name] for name in HEAD)
    rows = ops.convert_to_numpy(head.kernel)
    values = np.zeros(kernel.shape, "float32")
    values[-len(rows) :] = rows
    kernel.assign(values)
    bias.assign(np.full(bias.shape, ops.convert_to_numpy(head.bias), "float32"))


def _resolved(spec, head):
    embedding = head.embedding
    readout = ImageEmbedding(embedding.num_classes, embedding_fingerprint(embedding))
    return dataclasses.replace(spec, head_init=None, readout=readout)
