"""What the task optimiser asks of TensorFlow: eager building, `tf.distribute`."""

import contextlib

import keras
from keras import ops


def eagerly():
    """A context in which variables have values, also while a function is traced.

    A user's own loop may build the optimiser in the trace of its first step.
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


def sum_of_replicas(value):
    """Tensors summed over TensorFlow's replicas; elsewhere, as they are."""
    if not is_distributed() or (isinstance(value, list) and not value):
        return value
    import tensorflow as tf

    if tf.distribute.in_cross_replica_context():
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def restore_unless(kept, variables, before):
    """Gives variables their earlier values, where a step is not to be kept.

    Args:
        kept: boolean scalar, the same on all replicas.
        variables: list of `keras.Variable`.
        before: list of tensors.
    """
    if not is_distributed():
        for variable, old in zip(variables, before):
            variable.assign(ops.where(kept, variable.value, old))
        return
    import tensorflow as tf

    def restore(variable, kept, old):
        return variable.assign(tf.where(kept, variable, old))

    def on_all(strategy, kept, before):
        for variable, old in zip(variables, before):
            strategy.extended.update(
                variable.value, restore, args=(kept, old), group=False
            )

    tf.distribute.get_replica_context().merge_call(on_all, args=(kept, before))
