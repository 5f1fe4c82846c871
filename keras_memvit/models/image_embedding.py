"""A model's classifier as what gives the image embedding of its backbone."""

import hashlib

import keras
import numpy as np

from keras_memvit.layers.base_classifier import BaseClassifier
from keras_memvit.layers.text_classifier import TextClassifier


def image_embedding_of(classifier):
    """The `BaseClassifier` behind a model's classifier, or None."""
    if isinstance(classifier, TextClassifier):
        return classifier.embedding
    return classifier if isinstance(classifier, BaseClassifier) else None


def embedding_fingerprint(embedding):
    """SHA-256 of the weights of what gives the image embedding."""
    digest = hashlib.sha256()
    for weight in embedding.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight), dtype="<f4")
        digest.update(f"{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def require_embedding(specs, classifier):
    """Raises a `ValueError` if a task needs an embedding that the model has not.

    By its width: while a model is read, its weights are not there yet. Where tasks
    come to a model, see `require_same_embedding`.
    """
    embedding = image_embedding_of(classifier)
    width = None if embedding is None else embedding.num_classes
    for spec in specs:
        if spec.readout.needs_embedding and spec.readout.dim != width:
            has = "no classifier that gives one" if width is None else f"one of {width}"
            raise _refused(
                spec, f"of {spec.readout.dim} numbers, and the model has {has}"
            )
        if spec.head_init is not None:
            raise ValueError(
                f"`head_init` of task '{spec.name}' needs the class names' text "
                "embeddings, which `build` makes by the backbone's text tower; "
                "`concatenate` brings the task beside others. "
                f"Received: head_init={spec.head_init!r}"
            )


def require_same_embedding(specs, classifier):
    """The same, and by the weights that give the embedding."""
    require_embedding(specs, classifier)
    needing = [spec for spec in specs if spec.readout.needs_embedding]
    wanted = {spec.readout.fingerprint: spec for spec in needing}
    wanted.pop(None, None)
    if not wanted:
        return
    found = embedding_fingerprint(image_embedding_of(classifier))
    for fingerprint, spec in wanted.items():
        if fingerprint != found:
            raise _refused(
                spec,
                f"whose fingerprint is {fingerprint[:12]}, and the model's is "
                f"{found[:12]}",
            )


def _refused(spec, reason):
    return ValueError(
        f"Task '{spec.name}' takes the backbone's image embedding {reason}: build it "
        "on the whole CLIP, MetaCLIP 2 or SigLIP model that the task was made on"
    )
