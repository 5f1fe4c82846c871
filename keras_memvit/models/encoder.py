"""Images to logits: the frozen base stream and the task stream beside it."""

import contextlib
import contextvars

import keras
from keras import ops

from keras_memvit.layers.dtypes import float32_variables
from keras_memvit.models.task_weights import TaskTokens
from keras_memvit.tasks.layout import layout_of
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import BASE
from keras_memvit.tasks.spec import TaskSpec

ATTENTIONS = ("masked", "unmasked")

# By an encoder's id, the names of the tasks that this thread computes: in a model
# that trains, another thread may predict all of them.
_computed = contextvars.ContextVar("computed", default={})  # noqa: B039 (never changed)


@keras.saving.register_keras_serializable(package="keras_memvit")
class TwoStreamEncoder(keras.layers.Layer):
    """Runs a frozen backbone and every task's class token through it.

    Masked: the base stream `x (B, T, D)` never depends on a task, and the
    task stream `c (B, K, D)` reads it layer by layer, so neither a gradient
    nor an old output can be touched by a new task. Unmasked: one task; its
    class token takes the old one's place (without one, stands in front) and
    every token reads its memory.

    Args:
        backbone: a `ViTBackbone`.
        tasks: list of `TaskSpec`.
        attention: `"masked"` or `"unmasked"`.
        classifier: optional `BaseClassifier`, the backbone's own.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        images: `(B, H, W, 3)` in [0, 255].

    Returns:
        A dict of float32 logits by task name, each `(B, num_classes)`, and
        `"base"` where there is a classifier and attention is masked.
    """

    def __init__(self, backbone, tasks, attention="masked", classifier=None, **kwargs):
        kwargs["dtype"] = backbone.image_normalization.dtype_policy
        super().__init__(
            autocast=False, **kwargs
        )  # images stay float32 until normalised
        if attention not in ATTENTIONS:
            raise ValueError(
                f"`attention` must be one of {ATTENTIONS}. "
                f"Received: attention={attention!r}"
            )
        if attention == "unmasked" and len(tasks) > 1:
            raise ValueError(
                "`attention='unmasked'` takes one task, since its memory changes "
                "every token: use 'masked' for several. Received the tasks "
                f"{[spec.name for spec in tasks]}"
            )
        deep = [spec.name for spec in tasks if spec.queries_per_layer]
        if attention == "unmasked" and deep:
            raise ValueError(
                "`attention='unmasked'` takes no task with readout='deep', which reads "
                f"frozen tokens: use 'masked'. Received the tasks {deep}"
            )
        self.backbone = backbone
        self.specs = list(tasks)
        self.attention = attention
        self.classifier = classifier
        if classifier is not None:
            classifier.trainable = False
        self.tasks = [
            TaskTokens(
                backbone.num_layers,
                backbone.hidden_dim,
                spec.num_memory_tokens,
                spec.num_classes,
                spec.queries_per_layer,
                dtype=float32_variables(self.dtype_policy),
                name=spec.name,
            )
            for spec in self.specs
        ]

    def build(self, input_shape):
        for task in self.tasks:
            task.build()
        embedding = self.backbone.patch_embedding
        if embedding.use_class_token:  # new class tokens start from the pretrained one
            pretrained = ops.convert_to_numpy(embedding.class_token)[0]
            for task in self.tasks:
                task.class_token.assign(pretrained)

    @contextlib.contextmanager
    def computing_only(self, names):
        """Spares the other tasks' work, but for those that the named ones see.

        Their logits are zeros meanwhile. For training steps whose batch is
        known to have labels for a part of the tasks.

        Args:
            names: task names.
        """
        sees = visible_tasks(self.specs)
        names = frozenset(names).union(*(sees[name] for name in names))
        token = _computed.set({**_computed.get(), id(self): names})
        try:
            yield
        finally:
            _computed.reset(token)

    def call(self, images):
        if self.attention == "unmasked":
            return self._head_outputs(self.encode_unmasked(images)[:, :1], [])
        x, features, read = self.encode(images, base_output=self.classifier is not None)
        outputs = self._head_outputs(features, read)
        if self.classifier is not None:
            outputs[BASE] = self.classifier(x)
        return outputs

    def encode(self, images, base_output=True):
        """Both streams behind the encoder's last norm, masked attention.

        Args:
            images: `(B, H, W, 3)` in [0, 255].
            base_output: bool. Whether the base stream is wanted too.

        Returns:
            Base tokens `(B, T, D)`, or None; class tokens `(B, K, D)`; and what
            the query tokens of each layer read, a list of `(B, R, D)`.
        """
        x = self.backbone.embed(images)
        class_tokens = self.class_tokens(ops.shape(x)[0])
        layout, read = self._layout(), []
        for i, block in enumerate(self.backbone.blocks):
            last = i == self.backbone.num_layers - 1
            x, class_tokens, *found = block(
                x,
                class_tokens,
                memory=self.memory(i),
                layout=layout,
                memory_norm=layout.memory_norm,
                base_output=base_output or not last,
                queries=self.queries(i),
            )
            read += found
        x = self.backbone.norm(x) if base_output else None
        return x, self.backbone.norm(class_tokens), read

    def read(self, states):
        """Logits by task name from stored states `(B, L, T, D)`, see `precompute`."""
        if keras.backend.standardize_dtype(states.dtype) == "int16":  # its bits
            states = ops.view(states, "bfloat16")
        class_tokens = self.class_tokens(ops.shape(states)[0])
        layout, read = self._layout(), []
        for i, block in enumerate(self.backbone.blocks):
            class_tokens, *found = block(
                ops.cast(states[:, i], block.compute_dtype),
                class_tokens,
                memory=self.memory(i),
                layout=layout,
                memory_norm=layout.memory_norm,
                normed=True,
                queries=self.queries(i),
            )
            read += found
        return self._head_outputs(self.backbone.norm(class_tokens), read)

    def encode_unmasked(self, images):
        """All tokens behind the last norm, (B, T, D), the task's class token first."""
        x = self.backbone.embed(images)
        class_token = self.class_tokens(ops.shape(x)[0])  # (B, 1, D)
        old = int(self.backbone.use_class_token)  # whose place it takes
        x = ops.concatenate([class_token, x[:, old:]], axis=1)
        memory_norm = self._layout().memory_norm
        for i, block in enumerate(self.backbone.blocks):
            x = block(x, memory=self.memory(i), memory_norm=memory_norm)
        return self.backbone.norm(x)

    def _computed_specs(self):
        names = _computed.get().get(id(self))
        return [spec for spec in self.specs if names is None or spec.name in names]

    def _computed_tasks(self):
        names = {spec.name for spec in self._computed_specs()}
        return [task for task in self.tasks if task.name in names]

    def _layout(self):
        """The layout of the tasks that are computed."""
        return layout_of(tuple(self._computed_specs()))

    def class_tokens(self, batch):
        """The first block's class tokens, (B, K, D)."""
        tokens = ops.stack([t.class_token.value for t in self._computed_tasks()])
        tokens = self.backbone.patch_embedding.add_class_position(tokens)
        if self.backbone.pre_norm is not None:
            tokens = self.backbone.pre_norm(tokens)
        tokens = ops.cast(tokens, self.compute_dtype)
        return ops.repeat(tokens[None], batch, axis=0)

    def memory(self, layer):
        """All tasks' memory of one layer, (M, D)."""
        memory = [t.memory[layer].memory.value for t in self._computed_tasks()]
        memory = memory[0] if len(memory) == 1 else ops.concatenate(memory)
        return ops.cast(memory, self.compute_dtype)

    def queries(self, layer):
        """All tasks' query tokens of one layer, (R, D), or None."""
        tasks = [task for task in self._computed_tasks() if task.num_query_tokens]
        if not tasks:
            return None
        queries = ops.concatenate([task.queries.value[layer] for task in tasks])
        return ops.cast(queries, self.compute_dtype)

    def _head_outputs(self, features, read):
        """Features (B, K, D), each layer's (B, R, D) -> {task: (B, num_classes)}."""
        features = ops.cast(features, "float32")
        logits, start = {}, 0
        for k, task in enumerate(self._computed_tasks()):
            rows = slice(start, start + task.num_query_tokens)
            start = rows.stop
            own = [layer[:, rows] for layer in read] if task.num_query_tokens else None
            own = own and ops.concatenate(own, axis=1)  # (B, L q, D)
            logits[task.name] = task(features[:, k], own)
        batch = ops.shape(features)[0]
        return {
            spec.name: logits[spec.name]
            if spec.name in logits
            else ops.zeros((batch, spec.num_classes))
            for spec in self.specs
        }

    def compute_output_spec(self, images):
        sizes = {spec.name: spec.num_classes for spec in self.specs}
        if self.classifier is not None and self.attention == "masked":
            sizes[BASE] = self.classifier.num_classes
        return {
            name: keras.KerasTensor((images.shape[0], size), dtype="float32", name=name)
            for name, size in sizes.items()
        }

    def get_config(self):
        config = super().get_config()
        config.pop("dtype")  # the backbone's
        serialize = keras.saving.serialize_keras_object
        config.update(
            backbone=serialize(self.backbone),
            tasks=[spec.get_config() for spec in self.specs],
            attention=self.attention,
            classifier=None if self.classifier is None else serialize(self.classifier),
        )
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_parts(config))


def deserialize_parts(config):
    """Config of an encoder or a model -> its constructor's arguments."""
    config = dict(config)
    for part in ("backbone", "classifier"):
        if isinstance(config.get(part), dict):
            config[part] = keras.saving.deserialize_keras_object(config[part])
    config["tasks"] = [TaskSpec.from_config(spec) for spec in config["tasks"]]
    return config
