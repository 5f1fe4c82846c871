"""One model trained by several processes of torch: what `tf.distribute` has in itself.

Keras has no distribution on torch. Its loops run in each process on that process's
examples; what is to be one number, count, gradient or model over all of them
is summed, gathered or broadcast here by `torch.distributed`.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

_TOGETHER = contextvars.ContextVar("keras_memvit_together", default=False)


@contextlib.contextmanager
def data_parallel(model: Any) -> Iterator[None]:
    """Lets all processes of a torch job train one model, meanwhile.

    Every process runs the same program with examples of its own, and within this
    context a step of `fit` is the step that one process would make with all
    of them: means are over the labelled examples of all processes, each task's
    optimiser sees the sum of their gradients and steps where any of them has a label,
    and an epoch's losses and metrics are those of all. So `TaskEarlyStopping` and
    `resume` decide alike everywhere.

    In a loop of your own around `torch.nn.parallel.DistributedDataParallel` it does
    the same for `model.compute_loss` and `model.optimizer.apply`.

    On entry the tasks and the optimiser take the first process's values. Then every
    process must make the same calls of `fit` and `evaluate` with equally many
    batches; `predict`, `save_task` and exports are each process's own.

    On JAX use `keras.distribution`, on TensorFlow `tf.distribute`.
    `torchrun --nproc-per-node 2 train.py` starts the example in two processes.

    Args:
        model: a compiled `MemoryViT`, the same in all processes.

    Raises:
        ValueError: if the backend is not torch, `torch.distributed` has no process
            group yet, the model is not compiled, or it is another one in another
            process.

    Example:

    ```python
    from torch import distributed

    distributed.init_process_group("gloo")  # "nccl" on GPUs
    rank, size = distributed.get_rank(), distributed.get_world_size()
    with keras_memvit.recipes.data_parallel(model):
        model.fit(images[rank::size], digit_labels[rank::size], epochs=2)
    ```
    """
    _check(model)
    _begin_alike(model)
    token = _TOGETHER.set(True)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


def num_processes():
    """How many processes train one model: 1 outside of `data_parallel`."""
    return _distributed().get_world_size() if _TOGETHER.get() else 1


def sum_of_processes(values):
    """A list of tensors, each summed over the processes, in one exchange."""
    import torch

    flat = torch.cat([value.detach().reshape(-1) for value in values])
    _distributed().all_reduce(flat)
    parts = flat.split([value.numel() for value in values])
    pairs = zip(parts, values, strict=True)
    return [part.reshape(value.shape).to(value.dtype) for part, value in pairs]


def of_all_processes(value):
    """A list of what each process has; of one process, of the value alone."""
    if num_processes() == 1:
        return [value]
    found = [None] * num_processes()
    _distributed().all_gather_object(found, value)
    return found


@contextlib.contextmanager
def summed(metrics):
    """Metrics that have counted the examples of all processes, meanwhile.

    Args:
        metrics: list of `keras.metrics.Metric`, whose variables are sums.
    """
    variables = [variable for metric in metrics for variable in metric.variables]
    if num_processes() == 1 or not variables:
        yield
        return
    own = [variable.value.clone() for variable in variables]
    _assign(variables, sum_of_processes(own))
    try:
        yield
    finally:
        _assign(variables, own)


def labelled_by_all(labels, specs):
    """A batch's labels, with "no label" for tasks of which only others may have some.

    Args:
        labels: dict from task name to labels, of one task at least.
        specs: list of `TaskSpec`.

    Returns:
        A dict with every task, in the order of `specs`, so that all processes sum
        the same things.
    """
    if num_processes() == 1 or not labels:
        return labels
    size = len(next(iter(labels.values())))
    return {
        spec.name: labels[spec.name] if spec.name in labels else _none(spec, size)
        for spec in specs
    }


def _none(spec, size):
    if spec.kind == "single_label":
        return np.full(size, -1, "int32")
    missing = np.nan if spec.kind == "regression" else -1.0
    return np.full((size, spec.num_classes), missing, "float32")


def _check(model):
    backend = keras.backend.backend()
    if backend != "torch":
        raise ValueError(
            "`data_parallel` must be used on the torch backend: JAX has "
            "`keras.distribution`, TensorFlow `tf.distribute`. "
            f"Received: backend={backend!r}"
        )
    if not (_distributed().is_available() and _distributed().is_initialized()):
        raise ValueError(
            "`data_parallel` needs torch's process group: call "
            "`torch.distributed.init_process_group` first. "
            "Received: no process group"
        )
    if getattr(model, "optimizer", None) is None:
        raise ValueError(
            "`model` must be compiled with an optimizer. "
            f"Received: model={type(model).__name__} without one"
        )


def _begin_alike(model):
    """The first process's values in all, of what must be the same model."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [v for task in model.task_layers.values() for v in task.weights]
    variables += model.optimizer.variables
    own = [spec.get_config() for spec in model.specs], model.backbone.fingerprint()
    own += (model.trained_tasks, [tuple(v.shape) for v in variables])
    found = [None] * _distributed().get_world_size()
    _distributed().all_gather_object(found, own)
    if others := [rank for rank, other in enumerate(found) if other != own]:
        raise ValueError(
            "`model` must have the same backbone, tasks and optimizer in every "
            f"process. Received others in the processes {others}"
        )
    for variable in variables:
        _distributed().broadcast(variable.value.data, 0)


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _distributed():
    import torch.distributed

    return torch.distributed
