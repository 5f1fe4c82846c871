"""One forward pass for tasks whose tensors are arguments, compiled once a shape."""

import dataclasses

import keras
from keras import ops

from keras_memvit.models.task_weights import HEAD
from keras_memvit.readouts import Task
from keras_memvit.readouts.loop import num_queries
from keras_memvit.readouts.loop import run_readouts
from keras_memvit.tasks.layout import TaskLayout

_BESIDE = (*HEAD, "memory_padding", "memory_norm")  # no tensors of a readout


class BankPass:
    """Images and tasks' tensors to logits.

    Which tasks are computed is data: what is compiled depends on how many of each
    kind there are, never on which.

    Args:
        backbone: a `ViTBackbone`.
        num_memory_tokens, num_classes: what tasks are padded to.
    """

    def __init__(self, backbone, num_memory_tokens, num_classes):
        self.backbone = backbone
        self.num_memory_tokens = num_memory_tokens
        self.num_classes = num_classes
        self._functions = {}
        self._traces = 0

    def __call__(self, images, kinds, weights):
        """Logits.

        Args:
            images: `(B, H, W, 3)` in [0, 255].
            kinds: tuple of `(Kind, count)`.
            weights: list of dicts of tensors `(count, ...)`, in this order, as
                `entry.stack` makes them.

        Returns:
            A list of arrays `(count, B, num_classes)`.
        """
        key = (kinds, tuple(images.shape))
        function = self._functions.get(key)
        if function is None:
            specs = self._specs(kinds)

            def logits(images, weights):
                self._traces += 1
                return self._logits(specs, images, weights)

            function = self._functions[key] = _compiled(logits, self.backbone)
        found = function(ops.convert_to_tensor(images), weights)
        return [ops.convert_to_numpy(part) for part in found]

    @property
    def num_compilations(self):
        """How often the backend traced a pass; on torch, how many shapes there were."""
        eager = keras.backend.backend() == "torch"
        return len(self._functions) if eager else self._traces

    def _specs(self, kinds):
        return [
            kind.slots(count, f"kind{i}", self.num_memory_tokens, self.num_classes)
            for i, (kind, count) in enumerate(kinds)
        ]

    def _logits(self, specs, images, weights):
        tasks = [
            Task(spec, {n: w[k] for n, w in own.items() if n not in _BESIDE})
            for of_kind, own in zip(specs, weights)
            for k, spec in enumerate(of_kind)
        ]
        every = [spec for of_kind in specs for spec in of_kind]
        layers = self.backbone.base_layers(images, num_queries(every))
        layout = _layout(every, weights)
        batch = ops.shape(images)[0]
        features, _ = run_readouts(layers, self.backbone, tasks, batch, layout=layout)
        return [
            ops.matmul(
                ops.stack([features[spec.name] for spec in of_kind]), own[HEAD[0]]
            )
            + own[HEAD[1]][:, None]
            for of_kind, own in zip(specs, weights)
        ]


def _layout(specs, weights):
    """The layout of tasks none of which sees another; padding and norm are tensors."""
    layout = TaskLayout(specs)
    (group,) = layout.groups
    padding = ops.concatenate([own["memory_padding"] for own in weights], axis=0)
    layout.groups = [dataclasses.replace(group, memory_padding=padding)]  # (K, m)
    norm = ops.concatenate([own["memory_norm"] for own in weights], axis=0)
    layout.memory_norm = ops.repeat(norm, padding.shape[1])[:, None]  # (K m, 1)
    return layout


def _compiled(function, backbone):
    """A function of tensors as its backend runs it fastest, without gradients."""
    name = keras.backend.backend()
    if name == "jax":
        import jax

        variables = backbone.variables

        def stateless(values, *args):  # as arguments: as constants they are copied
            with keras.StatelessScope(state_mapping=zip(variables, values)):
                return function(*args)

        compiled = jax.jit(stateless)
        return lambda *args: compiled([v.value for v in variables], *args)
    if name == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import torch

    return torch.no_grad()(function)
