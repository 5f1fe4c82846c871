"""Forward passes for tasks whose tensors are arguments, compiled once a shape."""

import dataclasses

import keras
from keras import ops

from keras_memvit.layers.base_states import BaseStates
from keras_memvit.layers.dot_product_attention import written_out
from keras_memvit.models.task_weights import HEAD
from keras_memvit.readouts import Task
from keras_memvit.readouts.loop import run_readouts
from keras_memvit.tasks.layout import TaskLayout

_BESIDE = (*HEAD, "memory_padding", "memory_norm")  # no tensors of a readout


class BankPass:
    """The base stream of images, and what tasks of one kind take of it.

    Two functions, so that a new mixture of kinds compiles nothing: the base pass is
    compiled once a number of images and of tasks, and once the sizes these are padded
    to. Which tasks are computed is data.

    Args:
        backbone: a `ViTBackbone`.
    """

    def __init__(self, backbone):
        self.backbone = backbone
        self._functions = {}
        self._traces = 0

    @property
    def num_compilations(self):
        """How often the backend traced a pass; on torch, how many shapes there were."""
        eager = keras.backend.backend() == "torch"
        return len(self._functions) if eager else self._traces

    def states(self, images):
        """Each layer's normed tokens, keys and values.

        Args:
            images: array `(B, H, W, 3)` in [0, 255].

        Returns:
            A list of `(normed, key, value)`, `(B, T, D)` and `(B, T, H, d)` twice.
        """

        def base(images):
            return [
                (layer.normed, *layer.project())
                for _, layer in self.backbone.base_layers(images)
            ]

        run = self._function(("base", images.shape, images.dtype), base)
        return run(ops.convert_to_tensor(images))

    def logits(self, states, kind, weights):
        """Logits of tasks of one kind, `(K, B, num_classes)`.

        Args:
            states: what `states` returned.
            kind: the `Kind`.
            weights: dict of tensors `(K, ...)`, as `entry.stack` makes them.
        """
        sizes = (*weights["memory_padding"].shape, weights[HEAD[1]].shape[1])
        specs = kind.slots(*sizes)

        def answer(states, weights):
            return self._answer(specs, states, weights)

        run = self._function((kind, sizes, tuple(states[0][0].shape)), answer)
        return ops.convert_to_numpy(run(states, weights))

    def own_logits(self, states, kind, weights):
        """Logits of each image's own tasks of one kind, `(B, K, num_classes)`.

        The same computation, mapped over images and over an image's tasks: no task is
        computed for the images of others.

        Args:
            states: what `states` returned.
            kind: the `Kind`.
            weights: dict of tensors `(B, K, ...)`.
        """
        sizes = weights["memory_padding"].shape[2], weights[HEAD[1]].shape[2]
        specs = kind.slots(1, *sizes)

        def of_task(states, weights):
            states = [tuple(part[None] for part in layer) for layer in states]
            weights = {name: value[None] for name, value in weights.items()}
            return self._answer(specs, states, weights)[0, 0]

        def answer(states, weights):
            with written_out():
                return _over_pairs(of_task, states, weights)

        key = (kind, sizes, tuple(weights["memory_padding"].shape), "own")
        run = self._function((*key, tuple(states[0][0].shape)), answer)
        return ops.convert_to_numpy(run(states, weights))

    def _function(self, key, function):
        """The function of this key as it was compiled the first time."""
        if key not in self._functions:

            def counted(*args):
                self._traces += 1
                return function(*args)

            self._functions[key] = _compiled(counted, self.backbone)
        return self._functions[key]

    def _answer(self, specs, states, weights):
        tasks = [
            Task(spec, {n: w[k] for n, w in weights.items() if n not in _BESIDE})
            for k, spec in enumerate(specs)
        ]
        layers = [
            (block, BaseStates(block, normed, key=key, value=value))
            for block, (normed, key, value) in zip(self.backbone.blocks, states)
        ]
        batch, layout = ops.shape(states[0][0])[0], _layout(specs, weights)
        features, _ = run_readouts(layers, self.backbone, tasks, batch, layout=layout)
        features = ops.stack([features[spec.name] for spec in specs])  # (K, B, F)
        kernel, bias = (weights[name] for name in HEAD)
        return ops.matmul(features, kernel) + bias[:, None]


def _over_pairs(of_task, states, weights):
    """A function over images and an image's tasks, at once: `(B, K, ...)`."""
    if keras.backend.backend() != "tensorflow":
        return ops.vectorized_map(
            lambda image: ops.vectorized_map(
                lambda own: of_task(image[0], own), image[1]
            ),
            (states, weights),
        )
    # TensorFlow's softmax takes five axes, of which two maps are two.
    batch, count = weights["memory_padding"].shape[:2]
    states = [tuple(ops.repeat(x, count, axis=0) for x in layer) for layer in states]
    weights = {n: ops.reshape(w, (-1, *w.shape[2:])) for n, w in weights.items()}
    found = ops.vectorized_map(lambda pair: of_task(*pair), (states, weights))
    return ops.reshape(found, (batch, count, *found.shape[1:]))


def _layout(specs, weights):
    """The layout of tasks none of which sees another; padding and norm are tensors."""
    layout = TaskLayout(specs)
    (group,) = layout.groups
    padding = weights["memory_padding"]  # (K, m)
    layout.groups = [dataclasses.replace(group, memory_padding=padding)]
    norm = ops.repeat(weights["memory_norm"], padding.shape[1])
    layout.memory_norm = norm[:, None]  # (K m, 1)
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
