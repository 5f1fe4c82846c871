"""A `MemoryViT` that also answers over the classes of all tasks."""

import keras
import numpy as np
from keras import ops

from keras_memvit.models.encoder import TwoStreamEncoder
from keras_memvit.models.encoder import deserialize_parts
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unified.answer import Answer
from keras_memvit.models.unified.base_features import BaseFeatures


class UnifiedEncoder(TwoStreamEncoder):
    """A `TwoStreamEncoder` with an `Answer` on what it found.

    The tasks' own logits are computed as without it.

    Args:
        backbone, tasks, classifier: as of `TwoStreamEncoder`.
        answer: the `Answer`; without one, `"all"` is the frozen features.
        **kwargs: keyword arguments of `keras.layers.Layer`.
    """

    def __init__(self, backbone, tasks, classifier=None, answer=None, **kwargs):
        super().__init__(backbone, tasks, classifier, **kwargs)
        self.answer = answer

    def build(self, input_shape=None):
        super().build(input_shape)
        if self.answer is not None and not self.answer.built:
            self.answer.build()
            self.answer.built = True

    def _logits(self, layers, specs, batch, train_seen):
        watched = BaseFeatures(layers, self.backbone, batch)
        logits, base = super()._logits(watched, specs, batch, train_seen)
        features = watched.features()
        if self.answer is None:
            return {**logits, "all": features}, base
        return {**logits, **self.answer(features, logits)}, base

    def compute_output_spec(self, inputs, training=None):
        found = super().compute_output_spec(inputs, training=training)
        batch = next(iter(found.values())).shape[0]
        shapes = {"all": (batch, None)}
        if self.answer is not None:
            shapes = self.answer.compute_output_shape((batch, None))
        for name, shape in shapes.items():
            found[name] = keras.KerasTensor(shape, dtype="float32", name=name)
        return found


@keras.saving.register_keras_serializable(package="keras_memvit")
class UnifiedViT(MemoryViT):
    """A `MemoryViT` whose outputs have `"all"`, over the classes of all tasks.

    Made by `keras_memvit.unify`, and not to be trained: train the tasks, then unify
    again. It saves and loads, predicts, takes stores and is exported as any
    `MemoryViT`; `concatenate`, `extend`, `select` and `load_task` give a model of the
    tasks alone.

    Args:
        backbone: a `ViTBackbone`.
        tasks: list of `TaskSpec`.
        answer: the `Answer`.
        classifier, frozen_tasks, **kwargs: as of `MemoryViT`.

    Attributes:
        classes: list of `(task, class name)`, one for each column of `"all"`; a task
            without class names has its class numbers.
        evidence: dict from task name to what `unify` knows of its images, for a
            further call; None in a model that was loaded.
    """

    def __init__(
        self, backbone, tasks, answer, classifier=None, frozen_tasks=(), **kwargs
    ):
        encoder = UnifiedEncoder(backbone, tasks, classifier, answer, name="encoder")
        super(MemoryViT, self).__init__(encoder, frozen_tasks, **kwargs)
        self.classifier = classifier
        self.input_spec = None
        vars(self)["older_tasks"] = {}
        self.older_backbone = None
        self.answer = answer
        self.evidence = None

    @property
    def classes(self):
        names = {spec.name: spec.class_names for spec in self.specs}
        return [
            (task, label)
            for task, size in self.answer.tasks.items()
            for label in names[task] or map(str, range(size))
        ]

    def compile(self, *args, **kwargs):
        """Refused: the answer over all tasks belongs to the tasks as they are."""
        raise ValueError(
            "A unified model cannot be compiled and trained. Train the model of the "
            "tasks, then call `unify` again"
        )

    def get_config(self):
        return {**super().get_config(), "answer": self.answer.get_config()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = deserialize_parts(config)
        return cls(**{**config, "answer": Answer(**config["answer"])})


def features_and_logits(model, batches):
    """Frozen features and the tasks' logits of batches of images or states.

    Args:
        model: a `MemoryViT`.
        batches: iterable of inputs.

    Returns:
        Features `(n, F)`, and a dict of logits by task name; NumPy. None of no batch.
    """
    encoder = UnifiedEncoder(model.backbone, model.specs, name="encoder")
    encoder.build()
    for task, own in zip(encoder.tasks, model.encoder.tasks):
        task.set_weights(own.get_weights())
    features, logits = [], {spec.name: [] for spec in model.specs}
    for x in batches:
        found = encoder(x, training=False)
        features.append(ops.convert_to_numpy(found["all"]))
        for name, rows in logits.items():
            rows.append(ops.convert_to_numpy(found[name]))
    if not features:
        return None
    return np.concatenate(features), {k: np.concatenate(v) for k, v in logits.items()}
