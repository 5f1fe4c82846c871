"""What Keras' trainer for TensorFlow leaves to mend, where tasks are trained.

A step that makes the optimiser's variables is traced twice: the first trace cannot run.

Under `tf.distribute.MultiWorkerMirroredStrategy` Keras 3.15's `fit` fails in two places
(keras-team/keras issue 20585): before the first step it reduces a batch as a whole, and
`Strategy.reduce` takes no nested values; behind each step it takes the mean of the logs
over axis 0, and scalars have none. A model with tasks needs no batch to be built, and
its steps can give logs that have the axis.
"""

import keras
from keras import ops


class TensorFlowTrainer:
    """In front of a `keras.Model`; changes nothing on other backends."""

    def _maybe_symbolic_build(self, **batch):
        if not on_workers():
            super()._maybe_symbolic_build(**batch)

    def make_train_function(self, force=False):
        """Builds the optimiser first, so that the step is traced once."""
        if keras.backend.backend() == "tensorflow" and not self.optimizer.built:
            variables = self.trainable_variables
            if variables:  # else what is thawed later would be unknown to it
                with self.distribute_strategy.scope():
                    self.optimizer.build(variables)
        super().make_train_function(force=force)

    def train_step(self, *args):
        return _with_axis(super().train_step(*args))

    def test_step(self, *args):
        return _with_axis(super().test_step(*args))


def on_workers():
    """Whether this is one of several processes of TensorFlow that train together."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return several and bool(strategy.cluster_resolver.cluster_spec().as_dict())


def _with_axis(logs):
    if not on_workers():
        return logs
    return {name: ops.reshape(value, (1,)) for name, value in logs.items()}
