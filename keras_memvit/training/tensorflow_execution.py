"""What the task optimiser asks of TensorFlow: eager building, `tf.distribute`."""

import contextlib

import keras


def eagerly():
    """A context in which variables have values, also while a function is traced.

    TensorFlow's trainer builds optimisers in the trace of the first step.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def is_distributed():
    """Whether this runs on one of TensorFlow's replicas, under `tf.distribute`."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy()
