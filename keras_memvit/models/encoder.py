"""Images or stored states to logits: the base stream, and what tasks take of it."""

import keras
from keras import ops

from keras_memvit.layers.dtypes import float32_variables
from keras_memvit.layers.finite_images import FiniteImages
from keras_memvit.layers.patch_embedding import require_images
from keras_memvit.models.gated_weights import GatedWeights
from keras_memvit.models.image_embedding import image_embedding_of
from keras_memvit.models.image_embedding import require_embedding
from keras_memvit.models.parts_policy import GatedSpec
from keras_memvit.models.task_weights import TaskWeights
from keras_memvit.readouts.loop import num_queries
from keras_memvit.readouts.loop import run_readouts
from keras_memvit.tasks.reads import check_reads
from keras_memvit.tasks.reads import seen_tokens
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import BASE
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.training.step_plan import plan_of


@keras.saving.register_keras_serializable(package="keras_memvit")
class TwoStreamEncoder(keras.layers.Layer):
    """Runs a frozen backbone and lets every task take from it.

    The base stream `x (B, T, D)` never depends on a task, and the tasks' readouts
    take from it layer by layer, so neither a gradient nor an old output can be
    touched by a new task.

    Args:
        backbone: a `ViTBackbone`.
        tasks: list of `TaskSpec`.
        classifier: optional `BaseClassifier`, the backbone's own.
        values: optional dict from task names to the arrays that they start from.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: images `(B, H, W, 3)` in [0, 255], or `{"states": states}` with the
            states `(B, L, T, D)` of a `StateStore`.

    Returns:
        A dict of float32 logits by task name, each `(B, num_classes)`; of images
        also `"base"`, where there is a classifier.
    """

    def __init__(self, backbone, tasks, classifier=None, values=None, **kwargs):
        kwargs["dtype"] = backbone.image_normalization.dtype_policy
        super().__init__(
            autocast=False, **kwargs
        )  # images stay float32 until normalised
        self.backbone = backbone
        self.specs = list(tasks)
        self.classifier = classifier
        if classifier is not None:
            classifier.trainable = False
        dtype = self.dtype_policy
        self.tasks = task_layers(self.specs, backbone, dtype, values or {}, classifier)

    def build(self, input_shape=None):
        build_tasks(self.tasks, self.backbone, self.classifier)

    def call(self, inputs, training=None):
        states, _ = _states_or_images(inputs)
        specs, train_seen = self._plan()
        finite = FiniteImages() if training else None
        layers, batch = self._base_layers(inputs, num_queries(specs), finite)
        logits, base = self._logits(layers, specs, batch, train_seen)
        if self.classifier is not None and states is None:
            logits[BASE] = self.classifier(self.backbone.norm(base.output()))
        return finite.nan_elsewhere(logits) if training else logits

    def head_features(self, inputs, name):
        """What a task's head takes of images or states, float32 `(B, F)`."""
        needed = {name, *visible_tasks(self.specs)[name]}
        tasks = [task.task() for task in self.tasks if task.spec.name in needed]
        count = num_queries([task.spec for task in tasks])
        layers, batch = self._base_layers(inputs, count)
        return run_readouts(layers, self.backbone, tasks, batch)[0][name]

    def _base_layers(self, inputs, count, finite=None):
        """The base stream's layers for `count` queries, and the batch's size.

        Zeros stand for images that are not finite, where `finite` is a `FiniteImages`.
        """
        states, images = _states_or_images(inputs)
        if states is not None:
            cast = ops.cast if finite is None else finite.cast
            layers = self.backbone.stored_layers(states, count, cast)
            return layers, ops.shape(states)[0]
        require_images(images, self.backbone.image_shape)
        layers = self.backbone.base_layers(images, count)
        layers = layers if finite is None else finite.layers(layers)
        return layers, ops.shape(images)[0]

    def base_tokens(self, images):
        """The base tokens after the last norm, `(B, T, D)`, beside all tasks."""
        layers = self.backbone.base_layers(images, num_queries(self.specs))
        _, base = self._logits(layers, self.specs, ops.shape(images)[0], False)
        return self.backbone.norm(base.output())

    def _plan(self):
        """The specs that are computed, and whether seen tasks are trained."""
        plan = plan_of(self)
        if plan is None:
            return self.specs, False
        sees = visible_tasks(self.specs)
        computed = plan.tasks.union(*(sees[name] for name in plan.tasks))
        return [s for s in self.specs if s.name in computed], plan.train_seen

    def _logits(self, layers, specs, batch, train_seen):
        """Logits by task name, zeros where a task is not computed; the last layer."""
        computed = {spec.name for spec in specs}
        tasks = [task.task() for task in self.tasks if task.spec.name in computed]
        features, base = run_readouts(layers, self.backbone, tasks, batch, train_seen)
        logits = {
            task.spec.name: task(features[task.spec.name])
            if task.spec.name in computed
            else ops.zeros((batch, task.spec.num_classes))
            for task in self.tasks
        }
        return logits, base

    def compute_output_spec(self, inputs, training=None):
        states, images = _states_or_images(inputs)
        sizes = {spec.name: spec.num_classes for spec in self.specs}
        if self.classifier is not None and states is None:
            sizes[BASE] = self.classifier.num_classes
        batch = (images if states is None else states).shape[0]
        return {
            name: keras.KerasTensor((batch, size), dtype="float32", name=name)
            for name, size in sizes.items()
        }

    def get_config(self):
        config = super().get_config()
        config.pop("dtype")  # the backbone's
        serialize = keras.saving.serialize_keras_object
        config.update(
            backbone=serialize(self.backbone),
            tasks=[spec.get_config() for spec in self.specs],
            classifier=None if self.classifier is None else serialize(self.classifier),
        )
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_parts(config))


def task_layers(specs, backbone, dtype, values, classifier=None):
    """One `TaskWeights` a task, not built yet.

    Args:
        specs, backbone, dtype: of all tasks.
        values: dict of the arrays that tasks start from, by task name; the others
            draw theirs.
        classifier: optional, the model's.
    """
    embedding = image_embedding_of(classifier)
    require_embedding(specs, classifier)
    dtype = float32_variables(dtype)
    check_reads(specs, backbone.num_layers)
    seen = seen_tokens(specs) if any(spec.chooses for spec in specs) else {}
    tasks = [
        (GatedWeights if isinstance(spec, GatedSpec) else TaskWeights)(
            spec,
            backbone,
            values.get(spec.name),
            seen.get(spec.name),
            embedding,
            dtype=dtype,
            name=spec.name,
        )
        for spec in specs
    ]
    by_name = {task.spec.name: task for task in tasks}
    for task in tasks:
        task.siblings = lambda: by_name
    return tasks


def build_tasks(tasks, backbone, classifier=None):
    """Builds `TaskWeights`; new class tokens start from the pretrained one.

    Where the backbone has none but its classifier pools by a query, they start from
    that query.
    """
    embedding = backbone.patch_embedding
    drawn = [task for task in tasks if vars(task)["values"] is None]
    for task in tasks:
        task.build()
        task.built = True
    pretrained = None
    if embedding.use_class_token:
        pretrained = ops.convert_to_numpy(embedding.class_token)[0]
    elif classifier is not None:
        pretrained = classifier.first_class_token
    if pretrained is not None:
        for task in drawn:
            task.class_token.assign(pretrained)


def deserialize_parts(config):
    """Config of an encoder or a model -> its constructor's arguments."""
    config = dict(config)
    for part in ("backbone", "classifier"):
        if isinstance(config.get(part), dict):
            config[part] = keras.saving.deserialize_keras_object(config[part])
    config["tasks"] = [TaskSpec.from_config(spec) for spec in config["tasks"]]
    return config


def _states_or_images(inputs):
    """`(states, None)` or `(None, images)`."""
    if isinstance(inputs, (list, tuple)) and len(inputs) == 1:
        (inputs,) = inputs
    if not isinstance(inputs, dict):
        return None, inputs
    if set(inputs) not in ({"states"}, {"images"}):
        raise ValueError(
            "`inputs` must be images, or a dict of 'states' or of 'images'. "
            f"Received: a dict of {sorted(inputs)}"
        )
    return inputs.get("states"), inputs.get("images")
