"""The models and steps that the benchmarks measure, on any backend."""

import importlib.util

import keras
import numpy as np
from sizes import SMALL
from sizes import VIT_B16_224
from sizes import vit

import keras_memvit

NUM_MEMORY_TOKENS = 10
NUM_CLASSES = 10

# Batch size and the backbone's arguments.
SIZES = {
    "small": (4, SMALL),
    "vit_s14_98": (32, vit(98, 14, 384)),
    "vit_b32_224": (16, vit(224, 32, 768)),
    "vit_b16_224": (8, VIT_B16_224),
}


def predict_step(model, images, share=True):
    """The compiled function behind `model.predict`, on one batch."""
    model.make_predict_function()
    return _step(model, model.predict_function, (images,), False, share)


def train_step(model, images, labels, share=True):
    """The compiled function behind `model.fit`, on one batch."""
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    return _step(model, model.train_function, (images, labels), True, share)


def _step(model, function, batch, training, share):
    """A function of no arguments that runs one step to its very end.

    On JAX a model of tasks works on its variables; other models' functions take
    the state and donate it: `share` hands them a copy, for a model that shares
    weights with another.
    """
    if keras.backend.backend() == "torch":
        return lambda: _wait(function([batch]))
    if keras.backend.backend() == "tensorflow":
        return lambda: _wait(function(iter([batch]) if training else [batch]))
    import jax

    if hasattr(model, "task_layers"):
        trained = model.trainable_variables

        def step_on_variables():
            outputs, _ = function((), iter([batch]))
            jax.block_until_ready((outputs, [v.value for v in trained]))

        return step_on_variables
    state = jax_state(model, training)
    if share:
        state = jax.tree.map(jax.numpy.copy, state)

    def step():
        nonlocal state
        outputs, state = function(state, iter([batch]))
        jax.block_until_ready((outputs, state))

    return step


def jax_state(model, training):
    """The model's variables as Keras' JAX functions take them."""
    parts = [model.trainable_variables, model.non_trainable_variables]
    if training:
        parts += [model.optimizer.variables, model.metrics_variables]
    return tuple([v.value for v in part] for part in parts)


def _wait(outputs):
    """Waits for an accelerator; on a CPU the outputs are there already."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
    else:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def random_batch(size):
    """Images in [0, 255] and labels, on the device."""
    batch, config = SIZES[size]
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch, *config["image_shape"])).astype("float32")
    labels = rng.integers(0, NUM_CLASSES, batch)
    return tuple(map(keras.ops.convert_to_tensor, (images, labels)))


def one_task_model(backbone, **readout):
    """A compiled model of one masked task; see `TaskSpec` about its readout."""
    spec = keras_memvit.TaskSpec("a", NUM_CLASSES, NUM_MEMORY_TOKENS, **readout)
    model = keras_memvit.build(backbone, spec)
    model.compile()
    return model


def many_task_model(backbone, count, **readout):
    """A model of this many independent tasks."""
    tasks = [
        keras_memvit.TaskSpec(f"task_{i}", NUM_CLASSES, NUM_MEMORY_TOKENS, **readout)
        for i in range(count)
    ]
    return keras_memvit.build(backbone, tasks)


def fine_tuning_model(backbone):
    """The same backbone, every weight trainable, with a linear head."""
    backbone = backbone.replicate(name="fine_tuned")
    backbone.trainable = True
    images = keras.Input(backbone.image_shape)
    logits = keras.layers.Dense(NUM_CLASSES)(backbone(images)[:, 0])
    model = keras.Model(images, logits)
    model.compile(
        optimizer=keras_memvit.recipes.paper_optimizer(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def original_backbone(size):
    """KerasHub's backbone of the size, or None if it is not installed."""
    if importlib.util.find_spec("keras_hub") is None:
        return None
    import keras_hub

    return keras_hub.models.ViTBackbone(**SIZES[size][1])
