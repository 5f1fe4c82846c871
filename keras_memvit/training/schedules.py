"""Training recipes: the paper's SGD, and AdamW; clipping, warm-up, cosine decay."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_memvit")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then cosine decay to zero.

    `lr(t) = peak * min(1, (t + 1) / w)` for the first `w` steps, then
    `peak * (1 + cos(pi * (t - w) / (T - w))) / 2`.

    Args:
        learning_rate: float. The peak.
        warmup_steps: int, `w`. Defaults to the paper's `5`.
        total_steps: optional int, `T`. `None` lets `MemoryViT.fit` span the
            steps it is going to take (a data set of unknown length keeps the
            peak after the warm-up).
        start: int. The optimiser's step at which the schedule begins.

    Raises:
        ValueError: if `learning_rate` is not positive or `warmup_steps` is negative.

    Example:

    >>> schedule = keras_memvit.recipes.WarmupCosine(0.5, total_steps=100)
    >>> round(float(schedule(0)), 6)
    0.1
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int = 5,
        total_steps: int | None = None,
        start: int = 0,
    ) -> None:
        if not learning_rate > 0:
            raise ValueError(
                "`learning_rate` must be positive. "
                f"Received: learning_rate={learning_rate}"
            )
        if warmup_steps < 0:
            raise ValueError(
                "`warmup_steps` must not be negative. "
                f"Received: warmup_steps={warmup_steps}"
            )
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.start = start
        self.follows_fit = total_steps is None
        self._bound = None

    def span(self, start: int, total_steps: int | None) -> None:
        """Sets what one `fit` covers, unless `total_steps` was given."""
        if self.follows_fit:
            self.start, self.total_steps = start, total_steps
            if self._bound is not None:
                self._bound.assign(self._span())

    def bind(self, variable: keras.Variable) -> None:
        """Keeps the span in a variable `(2,)`, for steps that are compiled once.

        Else it would be a constant in them, and every `fit` would compile its own.
        """
        self._bound = variable
        variable.assign(self._span())

    def _span(self):
        end = math.inf if self.total_steps is None else self.total_steps
        return [float(self.start), float(end)]

    def __call__(self, step):
        span = self._span() if self._bound is None else self._bound
        start, end = ops.unstack(ops.convert_to_tensor(span, "float32"), num=2)
        step = ops.cast(step, "float32") - start
        warmup = (step + 1.0) / max(self.warmup_steps, 1)
        factor = ops.minimum(warmup, 1.0)
        decay_steps = ops.maximum(end - self.warmup_steps, 1.0)
        progress = ops.clip((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        factor = factor * (0.5 + 0.5 * ops.cos(math.pi * progress))
        return self.learning_rate * factor

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": None if self.follows_fit else self.total_steps,
            "start": self.start,
        }


def paper_optimizer(
    learning_rate: float = 0.1,
    warmup_steps: int = 5,
    total_steps: int | None = None,
) -> keras.optimizers.SGD:
    """SGD as the paper trains: momentum, clipping, warm-up, cosine decay.

    Momentum 0.9; gradients clipped to a global norm of 1. The paper does not
    give its learning rates or its decay; cosine is the field's habit.

    Args:
        learning_rate: float. Peak learning rate. Defaults to `0.1`.
        warmup_steps: int. Steps of linear warm-up. Defaults to `5`.
        total_steps: optional int. Steps until the rate is zero; `None` means
            the steps of the `fit` that uses it.

    Returns:
        A `keras.optimizers.SGD`.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), section 4

    Example:

    >>> optimizer = keras_memvit.recipes.paper_optimizer(learning_rate=0.3)
    >>> optimizer.momentum
    0.9
    """
    schedule = WarmupCosine(learning_rate, warmup_steps, total_steps)
    return keras.optimizers.SGD(schedule, momentum=0.9, global_clipnorm=1.0)


def adamw_optimizer(
    learning_rate: float = 3e-3,
    warmup_steps: int = 5,
    total_steps: int | None = None,
    weight_decay: float = 0.01,
) -> keras.optimizers.AdamW:
    """AdamW with the paper's clipping and warm-up, and cosine decay.

    For what SGD trains slowly: a deep readout (about `3e-3`), a class token with
    or without memory on few examples (about `1e-2`), full fine-tuning (about
    `3e-5`).

    Args:
        learning_rate: float. Peak learning rate. Defaults to `3e-3`.
        warmup_steps, total_steps: see `paper_optimizer`.
        weight_decay: float. Defaults to `0.01`.

    Returns:
        A `keras.optimizers.AdamW`.

    Reference:
        - [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1711.05101)

    Example:

    >>> optimizer = keras_memvit.recipes.adamw_optimizer(weight_decay=0.05)
    >>> optimizer.weight_decay
    0.05
    """
    schedule = WarmupCosine(learning_rate, warmup_steps, total_steps)
    return keras.optimizers.AdamW(
        schedule, weight_decay=weight_decay, global_clipnorm=1.0
    )
