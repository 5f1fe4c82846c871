"""The paper's first regime: one task whose memory every token attends to."""

import keras
from keras import ops

from keras_memvit.models.encoder import build_tasks
from keras_memvit.models.encoder import deserialize_parts
from keras_memvit.models.encoder import task_layers
from keras_memvit.models.task_model import TaskModel
from keras_memvit.readouts import ClassToken
from keras_memvit.tasks.spec import TaskSpec


@keras.saving.register_keras_serializable(package="keras_memvit")
class UnmaskedEncoder(keras.layers.Layer):
    """Images to the logits of one task, through the whole encoder.

    `z_l = block_l([z_(l-1); E_mem^l])`: the task's class token takes the old one's
    place (without one, stands in front), and every token attends to memory.

    Args:
        backbone: a `ViTBackbone`.
        spec: the `TaskSpec`.
        **kwargs: keyword arguments of `keras.layers.Layer`.
    """

    def __init__(self, backbone, spec, **kwargs):
        kwargs["dtype"] = backbone.image_normalization.dtype_policy
        super().__init__(autocast=False, **kwargs)
        self.backbone = backbone
        self.specs = [spec]
        self.tasks = task_layers(self.specs, backbone, self.dtype_policy, {})

    def build(self, input_shape=None):
        build_tasks(self.tasks, self.backbone)

    def call(self, images, training=None):
        (task,) = self.tasks
        finite = None
        if training and "float" in keras.backend.standardize_dtype(images.dtype):
            finite = ops.all(ops.isfinite(images), axis=(1, 2, 3))
            images = ops.where(finite[:, None, None, None], images, 0)
        logits = task(self.encode(images)[:, 0])
        if finite is not None:  # as `FiniteImages` has it
            logits = ops.where(finite[:, None], logits, float("nan"))
        return {task.spec.name: logits}

    def encode(self, images):
        """All tokens after the last norm, (B, T, D), the task's class token first."""
        (task,), backbone = self.tasks, self.backbone
        x = backbone.embed(images)
        token = ops.cast(task.class_token.value[None], x.dtype)
        token = backbone.patch_embedding.add_class_position(token)
        if backbone.pre_norm is not None:
            token = backbone.pre_norm(token)
        token = ops.repeat(ops.cast(token, x.dtype)[None], ops.shape(x)[0], axis=0)
        x = ops.concatenate([token, x[:, int(backbone.use_class_token) :]], axis=1)
        memory = ops.cast(task.memory.memory.value, x.dtype)  # (L, m, D)
        for i, block in enumerate(backbone.blocks):
            own = block.norm_memory(memory[i], task.spec.memory_norm)
            x = block.advance(x, block.attention(block.norm1(x), memory=own))
        return backbone.norm(x)

    def compute_output_spec(self, images, training=None):
        (spec,) = self.specs
        shape = (images.shape[0], spec.num_classes)
        return {spec.name: keras.KerasTensor(shape, dtype="float32", name=spec.name)}

    def get_config(self):
        config = super().get_config()
        config.pop("dtype")  # the backbone's
        (spec,) = self.specs
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**config, "backbone": backbone, "spec": spec.get_config()}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        config["spec"] = TaskSpec.from_config(config["spec"])
        return cls(**config)


# Its place in `.keras` files, where Keras names a layer by its class.
UnmaskedEncoder.__name__ = "TwoStreamEncoder"


@keras.saving.register_keras_serializable(package="keras_memvit")
class UnmaskedViT(TaskModel):
    """A frozen Vision Transformer with one task that changes every token.

    Made by `keras_memvit.build(..., attention="unmasked")`. It can be neither
    concatenated, extended, precomputed nor exported, and has no `"base"` output.

    Args:
        backbone: a `ViTBackbone`.
        tasks: list of one `TaskSpec`.
        frozen_tasks: names of tasks that are not to be trained.
        **kwargs: `name`.

    Call arguments:
        images: `(B, H, W, 3)` in [0, 255], uint8 or float.

    Returns:
        A dict of float32 logits `(B, num_classes)` by the task's name.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), section 3.1
    """

    attention = "unmasked"

    def __init__(self, backbone, tasks, frozen_tasks=(), **kwargs):
        if len(tasks) > 1:
            raise ValueError(
                "`attention='unmasked'` takes one task, since its memory changes "
                "every token: use 'masked' for several. Received the tasks "
                f"{[spec.name for spec in tasks]}"
            )
        (spec,) = tasks
        if spec.readout != ClassToken():
            raise ValueError(
                "`attention='unmasked'` takes no task with "
                f"readout='{spec.readout.name}', which takes from frozen tokens: use "
                f"'masked'. Received the tasks {[spec.name]}"
            )
        if spec.adapter is not None:
            raise ValueError(
                "`attention='unmasked'` takes no task with an adapter, which acts "
                "beside frozen tokens: use 'masked'. Received the task "
                f"'{spec.name}' with adapter={spec.adapter!r}"
            )
        for argument in ("feature_norm", "head_inputs", "kept"):
            if getattr(spec, argument):
                raise ValueError(
                    f"`attention='unmasked'` takes no task with `{argument}`, which "
                    "belongs beside frozen tokens: use 'masked'. Received the task "
                    f"'{spec.name}' with it"
                )
        super().__init__(
            UnmaskedEncoder(backbone, spec, name="encoder"), frozen_tasks, **kwargs
        )

    def verify_unchanged(self, images, *, batch_size=32):
        """Refused: nothing stays as it was where every token attends to memory."""
        raise ValueError(
            "`verify_unchanged` needs masked attention: an unmasked task changes every "
            "token. Received a model with attention='unmasked'"
        )

    def get_config(self):
        return {
            "name": self.name,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "tasks": [spec.get_config() for spec in self.specs],
            "frozen_tasks": self.frozen_tasks,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**deserialize_parts(config))
