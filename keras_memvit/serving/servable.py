"""A model as TensorFlow functions over weights that are stored once."""

import keras
import tensorflow as tf

from keras_memvit.layers.base_states import BaseStates
from keras_memvit.models.image_embedding import image_embedding_of
from keras_memvit.models.unified.base_features import BaseFeatures
from keras_memvit.readouts import Task
from keras_memvit.readouts.loop import fold
from keras_memvit.readouts.loop import run_readouts
from keras_memvit.tasks.reads import fixed_specs
from keras_memvit.tasks.sees import visible_tasks


class Servable:
    """Forward passes of a `MemoryViT`, for all tasks or for some.

    The base stream is one function that all signatures share, and so is the
    task stream of tasks of one shape, which takes their weights as arguments.
    What no image changes is folded (memory into its keys and values, class tokens
    into the first block's input), so a pass runs neither through norm or projections.

    Args:
        model: a float32 `MemoryViT` on the TensorFlow backend.
        dtype: the type that weights are stored in; they compute in float32.
    """

    def __init__(self, model, dtype="float32"):
        values = {name: task.arrays() for name, task in model.task_layers.items()}
        specs = fixed_specs(model.specs, values)
        self.specs = {spec.name: spec for spec in specs}
        self.sees = visible_tasks(model.specs)
        self.backbone = model.backbone
        self.classifier = model.classifier
        self.answer = getattr(model, "answer", None)  # over all tasks
        self.classes = getattr(model, "classes", None)  # of it, (task, class)
        self.dtype = dtype
        # Tracks the variables and nothing of Keras, which would store them twice.
        self.module = tf.Module()
        frozen = list(model.backbone.weights)
        if model.classifier is not None:
            frozen += model.classifier.weights
        self.stored = [(v, self._store(v.value)) for v in frozen]
        if self.answer is not None:  # small differences count there
            exact = [tf.Variable(v.value, trainable=False) for v in self.answer.weights]
            self.stored += zip(self.answer.weights, exact)
        self.tasks = _fold(model.encoder, self._store)
        self.kinds = {spec.name: spec.kind for spec in model.specs}
        self.module.variables_stored = [stored for _, stored in self.stored]
        self.module.tasks_stored = [list(task.values()) for task in self.tasks.values()]
        shape = (None, *self.backbone.image_shape)
        self.base_states = tf.function(
            self._base_states,
            input_signature=[tf.TensorSpec(shape, name="images")],
            autograph=False,
        )
        self._streams = {}

    def _store(self, value):
        if value.dtype == tf.int8:
            return tf.Variable(value, trainable=False)
        return tf.Variable(tf.cast(value, self.dtype), trainable=False)

    def _weights(self):
        """A scope in which Keras' layers read the stored weights."""
        mapping = [(v, tf.cast(stored, v.dtype)) for v, stored in self.stored]
        return keras.StatelessScope(state_mapping=mapping)

    def _base_states(self, images):
        """Each layer's normed tokens, keys and values; the last layer's input."""
        with self._weights():
            states = []
            for _, base in self.backbone.base_layers(images):
                states.append((base.normed, *base.project()))
        return states, base.x

    def base_tokens(self, states, x):
        """The frozen encoder's output (B, T, D)."""
        normed, key, value = states[-1]
        block = self.backbone.blocks[-1]
        with self._weights():
            base = BaseStates(block, normed, x=x, key=key, value=value)
            return self.backbone.norm(base.output())

    def base_logits(self, states, x):
        """The base classifier's logits (B, C)."""
        with self._weights():
            return self.classifier(self.base_tokens(states, x))

    def unified(self, states, x):
        """What the answer over all tasks gives, by output."""
        logits = self.logits(states, x, list(self.answer.tasks))
        with self._weights():
            batch = tf.shape(states[0][0])[0]
            watched = BaseFeatures(self._layers(states, x), self.backbone, batch)
            for _ in watched:
                pass
            return self.answer(watched.features(), logits)

    def logits(self, states, x, names):
        """Logits by task name, computing only these tasks and those they see.

        Of a regression they are its values.
        """
        needed = set(names).union(*(self.sees[name] for name in names))
        specs = [spec for spec in self.specs.values() if spec.name in needed]
        weights = [self.tasks[spec.name] for spec in specs]
        weights = [{k: tf.cast(v, "float32") for k, v in w.items()} for w in weights]
        answers = tuple(k for k, spec in enumerate(specs) if spec.name in names)
        outputs = self.stream(specs, answers)(states, x, weights)
        return {specs[k].name: output for k, output in zip(answers, outputs)}

    def stream(self, specs, answers):
        """The task stream of specs, one function for all of the same shape."""
        place = {spec.name: k for k, spec in enumerate(specs)}
        shape = tuple(
            (
                (s.num_memory_tokens, s.readout),
                (s.adapter, s.adapter_rank, s.feature_norm, s.head_inputs),
                tuple(place[n] for n in self.sees[s.name]),
                tuple((place[n], codes) for n, codes in s.reads or ()),
            )
            for s in specs
        )
        sizes = tuple(spec.num_classes for spec in specs)
        if (shape, sizes, answers) not in self._streams:

            @tf.function(autograph=_has_own_readout(specs))
            def stream(states, x, weights):
                with self._weights():
                    return self._task_stream(
                        self._layers(states, x), specs, weights, answers
                    )

            self._streams[shape, sizes, answers] = stream
        return self._streams[shape, sizes, answers]

    def _layers(self, states, x):
        """Blocks and their base states; `x` went into the last one."""
        entered = [None] * (len(states) - 1) + [x]
        return [
            (block, BaseStates(block, normed, x=x, key=key, value=value))
            for block, x, (normed, key, value) in zip(
                self.backbone.blocks, entered, states
            )
        ]

    def _task_stream(self, layers, specs, weights, answers):
        embedding = image_embedding_of(self.classifier)
        tasks = [Task(spec, w, embedding) for spec, w in zip(specs, weights)]
        batch = tf.shape(layers[0][1].normed)[0]
        features, _ = run_readouts(layers, self.backbone, tasks, batch)
        return [
            tf.matmul(features[tasks[k].spec.name], weights[k]["head/kernel"])
            + weights[k]["head/bias"]
            for k in answers
        ]


def _has_own_readout(specs):
    """Whether there is a readout of a user's, which may branch on tensors' values."""
    ours = "keras_memvit.readouts."
    return any(not type(spec.readout).__module__.startswith(ours) for spec in specs)


def _fold(encoder, store):
    """Each task's stored tensors: what no image changes is computed once, here."""
    found = {}
    for layer in encoder.tasks:
        tensors = fold(layer.task(), encoder.backbone)
        tensors = {name: store(value) for name, value in tensors.items()}
        # Units of a regression may need all digits: a year, a pixel's column.
        keep = _variable if layer.spec.kind == "regression" else store
        for name, value in layer.served_head().items():
            tensors[name] = keep(value)
        found[layer.spec.name] = tensors
    return found


def _variable(value):
    return tf.Variable(value, trainable=False)
