"""A trainer's part in updating each task by itself."""

from keras_memvit.training.loss_scales import INITIAL_SCALE
from keras_memvit.training.loss_scales import linked_tasks
from keras_memvit.training.loss_scales import traced_scales
from keras_memvit.training.rate_multipliers import rates_by_task
from keras_memvit.training.task_optimizer import TaskOptimizer


class UpdatesTasksApart:
    """In front of a `keras.Model` with `specs`, `task_layers` and `objectives`."""

    def _update_tasks_apart(self, multipliers, auto_scale_loss):
        """Wraps the optimiser; each task's loss takes its scale from the wrapper."""
        rates = rates_by_task(multipliers or {}, self.task_layers)
        if self.optimizer is None:
            return
        scales = auto_scale_loss and self.encoder.compute_dtype == "float16"
        scales = scales and self.optimizer.loss_scale_factor is None
        self.optimizer = TaskOptimizer(
            self.optimizer,
            rates,
            linked=linked_tasks(self.specs) if self.train_seen else None,
            initial_scale=INITIAL_SCALE if scales else None,
        )
        for name, objective in self.objectives.items():
            objective.loss_scaling = self.optimizer.loss_scaling(name)

    def compute_loss_and_updates(self, *args, optimizer_variables=None, **kwargs):
        """JAX's trainer computes the loss here, where the optimiser's variables
        have no values: they are arguments of the step, and handed over."""
        with traced_scales(self.optimizer, optimizer_variables):
            return super().compute_loss_and_updates(
                *args, optimizer_variables=optimizer_variables, **kwargs
            )
