"""A frozen Vision Transformer with any number of tasks."""

import keras
import numpy as np

from keras_memvit.models.encoder import TwoStreamEncoder
from keras_memvit.models.encoder import deserialize_parts
from keras_memvit.models.state_reader import StateReader
from keras_memvit.training.trainer import TaskTrainer


@keras.saving.register_keras_serializable(package="keras_memvit")
class MemoryViT(StateReader, TaskTrainer, keras.Model):
    """One frozen Vision Transformer, several tasks, one forward pass.

    Made by `keras_memvit.build`. Each task has a class token, memory tokens
    in every layer and a head, and these alone are trainable; the backbone
    runs in inference mode whatever `training` says.

    Args:
        backbone: a `ViTBackbone`.
        tasks: list of `TaskSpec`.
        attention: `"masked"`: old tokens see nothing new, any number of
            tasks. `"unmasked"`: one task whose memory every token sees.
        classifier: optional `BaseClassifier`, the backbone's own head.
        frozen_tasks: names of tasks that are not to be trained.
        **kwargs: `name`.

    Call arguments:
        images: `(B, H, W, 3)` in [0, 255], uint8 or float.

    Returns:
        A dict of float32 logits by task name, each `(B, num_classes)`; with
        a classifier and masked attention also `"base"`, its own logits.

    Attributes:
        backbone: the `ViTBackbone`, a model of its own.
        specs: the list of `TaskSpec`.
        attention: `"masked"` or `"unmasked"`.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243)

    Example:

    >>> backbone = keras_memvit.ViTBackbone(
    ...     image_shape=(32, 32, 3), patch_size=16, num_layers=2,
    ...     num_heads=2, hidden_dim=32, mlp_dim=64)
    >>> model = keras_memvit.build(backbone, tasks={"digits": 10})
    >>> tuple(model(keras.ops.zeros((1, 32, 32, 3)))["digits"].shape)
    (1, 10)
    """

    def __init__(
        self,
        backbone,
        tasks,
        attention="masked",
        classifier=None,
        frozen_tasks=(),
        **kwargs,
    ):
        # === Functional Model ===
        encoder = TwoStreamEncoder(
            backbone, tasks, attention=attention, classifier=classifier, name="encoder"
        )
        images = keras.Input(backbone.image_shape, name="images")
        kwargs.pop("trainable", None)
        kwargs.setdefault("name", "memory_vit")
        super().__init__(inputs=images, outputs=encoder(images), **kwargs)
        # === Config ===
        self.encoder = encoder
        self.backbone = backbone
        self.specs = encoder.specs
        self.attention = attention
        self.classifier = classifier
        for name in frozen_tasks:
            self.task_layers[name].trainable = False
        # What was there when the newest tasks were added: see `remember`.
        self.older_tasks = {}
        self.older_backbone = None

    @property
    def task_layers(self):
        """The `TaskTokens` layers by task name."""
        return {task.name: task for task in self.encoder.tasks}

    @property
    def trained_tasks(self):
        """Names of the tasks that have trainable parameters."""
        return [task.name for task in self.encoder.tasks if task.trainable_variables]

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        # The backbone is shared and stays frozen: only tasks are switched.
        self._trainable = bool(value)
        for task in self.encoder.tasks:
            task.trainable = value

    def task_summary(self, print_fn=None):
        """Prints each task's tokens, parameters, share of the backbone, sees.

        Args:
            print_fn: function that takes the text; defaults to `print`.
        """
        from keras_memvit.models.task_summary import task_summary

        (print_fn or print)(task_summary(self))

    def remember(self, tasks=()):
        """Keeps what the backbone and these tasks are now, to verify later.

        Args:
            tasks: names of the tasks that count as older ones.
        """
        self.older_backbone = self.backbone.fingerprint()
        self.older_tasks = {
            name: self.task_layers[name].get_weights() for name in tasks
        }

    def verify_unchanged(self, images, *, batch_size=32):
        """Compares outputs with what they were when the newest task was added.

        Args:
            images: array `(B, H, W, 3)` in [0, 255].
            batch_size: int. Defaults to `32`.

        Returns:
            A dict from output to the largest absolute difference over all
            images: `"base"`, the frozen encoder beside the tasks against the
            encoder alone (its classifier's logits, or without one its tokens);
            and the logits of each task that was there before `extend`,
            `concatenate` or `load_task` made this model. A model that was
            built or loaded whole has no older tasks, only `"base"`.

        Raises:
            ValueError: if attention is unmasked, `images` is no batch of
                images, or the backbone's weights have changed.

        Example:

        ```python
        more = keras_memvit.extend(both, {"glasses": 2}, sees=["faces"])
        more.fit(train)
        more.verify_unchanged(images)  # {"base": 0.0, "digits": 0.0, "faces": ...}
        ```
        """
        from keras_memvit.models.verification import largest_differences

        images = np.asarray(images)
        if images.shape[1:] != self.backbone.image_shape or not len(images):
            raise ValueError(
                "`images` must be a batch of the shape "
                f"{(None, *self.backbone.image_shape)}. Received: {images.shape}"
            )
        if self.attention != "masked":
            raise ValueError(
                "`verify_unchanged` needs masked attention: an unmasked task changes "
                "every token. Received a model with attention='unmasked'"
            )
        fingerprint = self.backbone.fingerprint()
        if self.older_backbone not in (None, fingerprint):
            raise ValueError(
                "The backbone's weights have changed since the newest task was added: "
                f"their fingerprint was {self.older_backbone[:12]} and is "
                f"{fingerprint[:12]}"
            )
        return largest_differences(self, self._older_model(), images, batch_size)

    def _older_model(self):
        """A model of the older tasks, with the values that they had."""
        specs = [spec for spec in self.specs if spec.name in self.older_tasks]
        if not specs:
            return None
        older = MemoryViT(self.backbone, specs)
        for name, task in older.task_layers.items():
            task.set_weights(self.older_tasks[name])
        return older

    def get_config(self):
        config = self.encoder.get_config()
        parts = ("backbone", "tasks", "attention", "classifier")
        frozen = [task.name for task in self.encoder.tasks if not task.trainable]
        return {
            "name": self.name,
            **{part: config[part] for part in parts},
            "frozen_tasks": frozen,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**deserialize_parts(config))
