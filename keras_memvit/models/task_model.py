"""What all models of tasks on a frozen backbone have in common."""

import keras

from keras_memvit.backbones.not_quantized import NotQuantized
from keras_memvit.backbones.saves_whole import SavesWhole
from keras_memvit.models.task_summary import task_summary
from keras_memvit.training.trainer import TaskTrainer


class TaskModel(NotQuantized, SavesWhole, TaskTrainer, keras.Model):
    """A functional model around an encoder that has `backbone`, `specs`, `tasks`.

    Args:
        encoder: the layer from images to a dict of logits.
        frozen_tasks: names of tasks that are not to be trained.
        **kwargs: `name`.
    """

    def __init__(self, encoder, frozen_tasks=(), **kwargs):
        # === Functional Model ===
        images = keras.Input(encoder.backbone.image_shape, name="images")
        kwargs.pop("trainable", None)
        kwargs.setdefault("name", "memory_vit")
        super().__init__(inputs=images, outputs=encoder(images), **kwargs)
        # === Config ===
        self.encoder = encoder
        self.backbone = encoder.backbone
        self.specs = encoder.specs
        layers = self.task_layers
        for name in frozen_tasks:
            layers[name].trainable = False

    @property
    def task_layers(self):
        """The `TaskWeights` layers by task name."""
        return {task.name: task for task in self.encoder.tasks}

    @property
    def trained_tasks(self):
        """Names of the tasks that have trainable parameters."""
        return [task.name for task in self.encoder.tasks if task.trainable_variables]

    @property
    def frozen_tasks(self):
        """Names of the tasks that are not to be trained."""
        return [task.name for task in self.encoder.tasks if not task.trainable]

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        # The backbone is shared and stays frozen: only tasks are switched.
        self._trainable = bool(value)
        for task in self.encoder.tasks:
            task.trainable = value

    def _run_through_graph(self, inputs, *args, **kwargs):
        # Keras' `clone_model` alone passes both. It would make a plain model of
        # this one's layers, whose labels, losses and saved files know no tasks.
        if {"operation_fn", "call_fn"} <= kwargs.keys():
            raise ValueError(
                "`clone_model` makes a plain Keras model, which knows no tasks. For a "
                "copy on the same backbone use `keras_memvit.select(model, names)`; "
                "for one with a backbone of its own "
                "`copy = type(model).from_config(model.get_config())`, then "
                "`copy.set_weights(model.get_weights())` and, where it is compiled, "
                "`copy.compile_from_config(model.get_compile_config())`. For new "
                "values `keras_memvit.build(model.backbone, model.specs)`"
            )
        return super()._run_through_graph(inputs, *args, **kwargs)

    def task_summary(self, print_fn=None):
        """Prints each task's tokens, parameters, share of the backbone, sees.

        Args:
            print_fn: function that takes the text; defaults to `print`.
        """
        (print_fn or print)(task_summary(self))
