"""A frozen Vision Transformer with any number of tasks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_memvit.backbones.fingerprint import compute_fingerprint
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.models.encoder import TwoStreamEncoder
from keras_memvit.models.encoder import deserialize_parts
from keras_memvit.models.task_model import TaskModel
from keras_memvit.models.unmasked_vit import UnmaskedViT
from keras_memvit.models.verification import largest_differences
from keras_memvit.tasks.spec import TaskSpec


@keras.saving.register_keras_serializable(package="keras_memvit")
class MemoryViT(TaskModel):
    """One frozen Vision Transformer, several tasks, one forward pass.

    Made by `keras_memvit.build`. Each task has a class token, memory tokens
    in every layer and a head, and these alone are trainable; the backbone
    runs in inference mode whatever `training` says.

    Args:
        backbone: a `ViTBackbone`.
        tasks: list of `TaskSpec`.
        classifier: optional `BaseClassifier`, the backbone's own head.
        frozen_tasks: names of tasks that are not to be trained.
        values: optional dict from task names to the arrays that they start from, by
            their names in a task file; the others draw theirs.
        **kwargs: `name`.

    Call arguments:
        inputs: images `(B, H, W, 3)` in [0, 255], uint8 or float; or a batch of a
            `StateStore`, `{"states": states}`.

    Returns:
        A dict of float32 logits by task name, each `(B, num_classes)`; of images,
        with a classifier, also `"base"`, its own logits.

    Attributes:
        backbone: the `ViTBackbone`, a model of its own.
        specs: the list of `TaskSpec`.
        attention: `"masked"`; an `UnmaskedViT`'s is `"unmasked"`.

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

    attention = "masked"

    def __init__(
        self,
        backbone: ViTBackbone,
        tasks: Sequence[TaskSpec],
        classifier: keras.layers.Layer | None = None,
        frozen_tasks: Sequence[str] = (),
        values: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        encoder = TwoStreamEncoder(backbone, tasks, classifier, values, name="encoder")
        super().__init__(encoder, frozen_tasks, **kwargs)
        self.classifier = classifier
        self.input_spec = None  # images, or states: the encoder checks both
        # What was there when the newest tasks were added: see `remember`.
        vars(self)["older_tasks"] = {}  # arrays, which Keras need not look through
        self.older_backbone = None

    def call(self, inputs, training=None, mask=None):
        return self.encoder(inputs, training=training)

    def remember(self, older=None):
        """Keeps what the backbone and older tasks are now, to verify later.

        Args:
            older: dict from the names of the tasks that count as older ones to their
                arrays.
        """
        self.older_backbone = self.backbone.stored_fingerprint()
        vars(self)["older_tasks"] = older or {}

    def verify_unchanged(self, images, *, batch_size=32):
        """Compares outputs with what they were when the newest task was added.

        Args:
            images: array `(B, H, W, 3)` in [0, 255].
            batch_size: int. Defaults to `32`.

        Returns:
            A dict from output to the largest absolute difference over all
            images: `"base"`, the frozen encoder beside the tasks against the
            encoder alone (its classifier's logits, or without one its tokens),
            0.0; and the logits of each task that was there before `extend`,
            `concatenate` or `load_task` made this model, 0.0 to float rounding: the
            products of more tasks have another shape, which some kernels round
            otherwise (up to 1e-6 in float32, 1e-2 in bfloat16). A model that was
            built or loaded whole has no older tasks, only `"base"`.

        Raises:
            ValueError: if `images` is no batch of images, or the backbone's weights
                have changed.

        Example:

        ```python
        more = keras_memvit.extend(both, {"glasses": 2}, sees=["faces"])
        more.fit(train)
        more.verify_unchanged(images)  # {"base": 0.0, "digits": 0.0, "faces": 0.0}
        ```
        """
        images = np.asarray(images)
        if images.shape[1:] != self.backbone.image_shape or not len(images):
            raise ValueError(
                "`images` must be a batch of the shape "
                f"{(None, *self.backbone.image_shape)}. Received: {images.shape}"
            )
        fingerprint = compute_fingerprint(self.backbone)  # nothing is taken on trust
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
        return MemoryViT(self.backbone, specs, self.classifier, values=self.older_tasks)

    def get_config(self):
        config = self.encoder.get_config()
        parts = ("backbone", "tasks", "classifier")
        return {
            "name": self.name,
            **{part: config[part] for part in parts},
            "frozen_tasks": self.frozen_tasks,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = deserialize_parts(config)
        # Files written before unmasked models had a class of their own.
        if config.pop("attention", "masked") == "unmasked":
            config.pop("classifier")
            return UnmaskedViT(**config)
        return cls(**config)
