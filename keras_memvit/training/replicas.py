"""Sums over all that train one model, by the backend's own engine."""

from keras_memvit.training import tensorflow_execution
from keras_memvit.training import torch_processes


def sum_of_replicas(value):
    """A tensor, or a list of them, summed over a model's replicas.

    These are TensorFlow's under `tf.distribute` and torch's processes in
    `data_parallel`. Elsewhere the value as it is: JAX's steps see the examples of all
    devices.
    """
    if torch_processes.num_processes() == 1:
        return tensorflow_execution.sum_of_replicas(value)
    if isinstance(value, list):
        return torch_processes.sum_of_processes(value) if value else value
    return torch_processes.sum_of_processes([value])[0]
