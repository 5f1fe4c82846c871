"""A model as TensorFlow functions over weights that are stored once."""

import keras
import tensorflow as tf

from keras_memvit.layers.base_readers import BaseStates
from keras_memvit.models.task_weights import join_readout
from keras_memvit.tasks.layout import layout_of
from keras_memvit.tasks.sees import visible_tasks


class Servable:
    """Forward passes of a `MemoryViT`, for all tasks or for some.

    The base stream is one function that all signatures share, and so is the
    task stream of tasks of one shape, which takes their weights as arguments.
    Memory is folded into its keys and values, class tokens into the first
    block's input, so a pass runs neither through norm or projections.

    Args:
        model: a float32 `MemoryViT` on the TensorFlow backend.
        dtype: the type that weights are stored in; they compute in float32.
    """

    def __init__(self, model, dtype="float32"):
        self.specs = {spec.name: spec for spec in model.specs}
        self.sees = visible_tasks(model.specs)
        self.backbone = model.backbone
        self.classifier = model.classifier
        self.dtype = dtype
        # Tracks the variables and nothing of Keras, which would store them twice.
        self.module = tf.Module()
        frozen = list(model.backbone.weights)
        if model.classifier is not None:
            frozen += model.classifier.weights
        self.stored = [(v, self._store(v.value)) for v in frozen]
        self.tasks = _fold(model.encoder, self._store)
        self.module.variables_stored = [stored for _, stored in self.stored]
        self.module.tasks_stored = [list(task.values()) for task in self.tasks.values()]
        shape = (None, *self.backbone.image_shape)
        self.base_states = tf.function(
            self._base_states, input_signature=[tf.TensorSpec(shape, name="images")]
        )
        self._streams = {}

    def _store(self, value):
        return tf.Variable(tf.cast(value, self.dtype), trainable=False)

    def _weights(self):
        """A scope in which Keras' layers read the stored weights."""
        mapping = [(v, tf.cast(stored, v.dtype)) for v, stored in self.stored]
        return keras.StatelessScope(state_mapping=mapping)

    def _base_states(self, images):
        """Each layer's normed tokens, keys and values; the last layer's input."""
        with self._weights():
            x = self.backbone.embed(images)
            states = []
            for i, block in enumerate(self.backbone.blocks):
                base = block.base_states(x)
                states.append((base.x, *base.project()))
                if i < self.backbone.num_layers - 1:
                    x = block.advance_base(x, base)
        return states, x

    def base_tokens(self, states, x):
        """The frozen encoder's output (B, T, D)."""
        block = self.backbone.blocks[-1]
        with self._weights():
            x = block.advance_base(x, BaseStates(block.attention, *states[-1]))
            return self.backbone.norm(x)

    def base_logits(self, states, x):
        """The base classifier's logits (B, C)."""
        with self._weights():
            return self.classifier(self.base_tokens(states, x))

    def logits(self, states, names):
        """Logits by task name, computing only these tasks and those they see."""
        needed = set(names).union(*(self.sees[name] for name in names))
        specs = [spec for spec in self.specs.values() if spec.name in needed]
        weights = [self.tasks[spec.name] for spec in specs]
        weights = [{k: tf.cast(v, "float32") for k, v in w.items()} for w in weights]
        answers = tuple(k for k, spec in enumerate(specs) if spec.name in names)
        outputs = self._stream(specs, answers)(states, weights)
        return {specs[k].name: output for k, output in zip(answers, outputs)}

    def _stream(self, specs, answers):
        """The task stream of specs, one function for all of the same shape."""
        place = {spec.name: k for k, spec in enumerate(specs)}
        shape = tuple(
            (
                s.num_memory_tokens,
                s.queries_per_layer,
                tuple(place[n] for n in self.sees[s.name]),
            )
            for s in specs
        )
        sizes = tuple(spec.num_classes for spec in specs)
        if (shape, sizes, answers) not in self._streams:
            layout = layout_of(tuple(specs))

            @tf.function
            def stream(states, weights):
                with self._weights():
                    return self._task_stream(states, weights, layout, answers)

            self._streams[shape, sizes, answers] = stream
        return self._streams[shape, sizes, answers]

    def _task_stream(self, states, weights, layout, answers):
        batch = tf.shape(states[0][0])[0]
        class_tokens = tf.stack([w["class_token"] for w in weights])
        class_tokens = tf.repeat(class_tokens[None], batch, axis=0)
        keys, values = (
            tf.concat([w[name] for w in weights], axis=1)  # (L, M, H, d)
            for name in ("memory_key", "memory_value")
        )
        queries, read = _all_queries(weights), []
        for i, block in enumerate(self.backbone.blocks):
            base = BaseStates(block.attention, *states[i])
            memory = (keys[i], values[i])
            class_tokens, *found = block.advance_tasks(
                class_tokens, base, memory, layout, queries and queries[i]
            )
            read += found
        features = self.backbone.norm(class_tokens)
        logits, start = {}, 0
        for k, w in enumerate(weights):
            feature = features[:, k]
            if "queries" in w:
                rows = slice(start, start + w["queries"].shape[1])
                start = rows.stop
                own = tf.concat([layer[:, rows] for layer in read], axis=1)
                feature = join_readout(feature, own)
            logits[k] = tf.matmul(feature, w["kernel"]) + w["bias"]
        return [logits[k] for k in answers]


def _all_queries(weights):
    """All tasks' query tokens by layer, each (R, D), or None."""
    queries = [w["queries"] for w in weights if "queries" in w]
    return tf.unstack(tf.concat(queries, axis=1)) if queries else None


def _fold(encoder, store):
    """Each task's stored weights, memory as keys and values of shape (L, m, H, d)."""
    layout = layout_of(tuple(encoder.specs))
    first = encoder.class_tokens(1)[0]  # (K, D)
    folded = []
    for i, block in enumerate(encoder.backbone.blocks):
        memory = block.norm_memory(encoder.memory(i), layout.memory_norm)
        folded.append(block.attention.project(memory))
    keys, values = (tf.stack([pair[j] for pair in folded]) for j in (0, 1))
    tasks, start = {}, 0
    for k, (spec, task) in enumerate(zip(encoder.specs, encoder.tasks)):
        rows = slice(start, start + spec.num_memory_tokens)
        start = rows.stop
        tasks[spec.name] = {
            "class_token": store(first[k]),
            "memory_key": store(keys[:, rows]),
            "memory_value": store(values[:, rows]),
            "kernel": store(task.head.kernel.value),
            "bias": store(task.head.bias.value),
        }
        if task.num_query_tokens:
            tasks[spec.name]["queries"] = store(task.queries.value)
    return tasks
