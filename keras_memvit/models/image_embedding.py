"""A model's classifier as what gives the image embedding of its backbone."""

from keras_memvit.layers.base_classifier import BaseClassifier
from keras_memvit.layers.text_classifier import TextClassifier


def image_embedding_of(classifier):
    """The `BaseClassifier` behind a model's classifier, or None."""
    if isinstance(classifier, TextClassifier):
        return classifier.embedding
    return classifier if isinstance(classifier, BaseClassifier) else None


def require_embedding(specs, classifier):
    """Raises a `ValueError` if a task needs an embedding that the model has not."""
    embedding = image_embedding_of(classifier)
    width = None if embedding is None else embedding.num_classes
    for spec in specs:
        if spec.readout.needs_embedding and spec.readout.dim != width:
            has = "no classifier that gives one" if width is None else f"one of {width}"
            raise ValueError(
                f"Task '{spec.name}' takes the backbone's image embedding of "
                f"{spec.readout.dim} numbers, and the model has {has}: build it on the "
                "whole CLIP, MetaCLIP 2 or SigLIP model that the task was made on"
            )
        if spec.head_init is not None:
            raise ValueError(
                f"`head_init` of task '{spec.name}' needs the class names' text "
                "embeddings, which `build` makes by the backbone's text tower; "
                "`concatenate` brings the task beside others. "
                f"Received: head_init={spec.head_init!r}"
            )
