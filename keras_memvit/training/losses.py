"""What `compile` takes as a task's loss, made a loss on logits."""

import dataclasses
import inspect
import re

import keras

CATEGORICAL = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
)
# Their mean over a row is one over columns, each of which has a loss of its own.
BY_COLUMN = tuple(
    getattr(keras.losses, name)
    for name in (
        "MeanSquaredError",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredLogarithmicError",
        "Huber",
        "LogCosh",
    )
)
BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
# They want probabilities, and have no `from_logits`.
ON_PROBABILITIES = tuple(
    getattr(keras.losses, name)
    for name in ("KLDivergence", "Poisson", "Dice", "Tversky")
)
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")


@dataclasses.dataclass(frozen=True)
class LogitLoss:
    """A loss on logits.

    Attributes:
        loss: a `keras.losses.Loss`.
        link: how its logits become probabilities, a key of `LINKS`.
        labels: `"ids"`, `"rows"`, or None for labels as they are given.
    """

    loss: keras.losses.Loss
    link: str | None
    labels: str | None

    @property
    def is_elementwise(self):
        """Whether each column of a row has a loss of its own."""
        elementwise = (*BINARY, *BY_COLUMN)
        return isinstance(self.loss, elementwise) and (
            getattr(self.loss, "axis", -1) == -1
        )


def get_loss(loss, spec, link):
    """The loss of one task.

    Args:
        loss: None, a name, a function of `(y_true, y_pred)` or a `Loss`. Names and
            functions of Keras' become losses on logits, which outputs are.
        spec: the `TaskSpec`.
        link: the link of the task's kind, which a loss of the user's has.

    Returns:
        A `LogitLoss`, or None.

    Raises:
        ValueError: if a loss expects probabilities, has no reduction, or cannot
            teach a task with one class.
    """
    if loss is None:
        return None
    loss = _resolve(loss, spec, link)
    _check(loss, spec)
    if isinstance(loss, CATEGORICAL):
        sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
        return LogitLoss(loss, "softmax", "ids" if sparse else "rows")
    if isinstance(loss, BINARY):
        return LogitLoss(loss, "sigmoid", "rows")
    if is_of_keras(loss, (keras.losses.Loss,)):
        return LogitLoss(loss, None, "rows")
    return LogitLoss(loss, link, None)


def is_of_keras(thing, bases):
    """Whether this is an object of a class of Keras' own, other than `bases`."""
    return any(
        kind.__module__.startswith("keras.") and kind not in bases
        for kind in type(thing).__mro__
        if issubclass(kind, bases)
    )


def class_of_name(name, module):
    """Keras' class of this name, as `KLDivergence` of `kl_divergence`, or None."""
    wanted = name.replace("_", "").lower()
    for key, value in vars(module).items():
        if inspect.isclass(value) and key.lower() == wanted:
            return value
    return None


def on_logits(kind, **kwargs):
    """An object of a class of Keras', `from_logits` where it has this."""
    if "from_logits" in inspect.signature(kind).parameters:
        kwargs["from_logits"] = True
    return kind(**kwargs)


def function_name(function):
    """A name for logs, which all backends take."""
    function = getattr(function, "func", function)  # of `functools.partial`
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W+", "", name) or "function"


class _FunctionLoss(keras.losses.Loss):
    """A function of `(y_true, y_pred)` with Keras' mean reduction."""

    def __init__(self, function):
        super().__init__(name=function_name(function))
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def _resolve(loss, spec, link):
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        binary = link == "sigmoid" or spec.num_classes == 1
        return on_logits(
            keras.losses.BinaryCrossentropy
            if binary
            else keras.losses.CategoricalCrossentropy
        )
    known = isinstance(loss, str)
    if not isinstance(loss, keras.losses.Loss):
        known = known or getattr(loss, "__module__", "").startswith("keras.")
        if not callable(loss) or isinstance(loss, type):
            loss = keras.losses.get(loss)
    if known and not isinstance(loss, keras.losses.Loss):
        kind = class_of_name(loss.__name__, keras.losses)
        return _FunctionLoss(loss) if kind is None else on_logits(kind)
    if known and isinstance(loss, keras.losses.Loss):  # "CategoricalCrossentropy"
        return on_logits(type(loss))
    return loss if isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)


def _check(loss, spec):
    kind = type(loss).__name__
    if spec.kind == "regression" and isinstance(loss, (*CATEGORICAL, *BINARY)):
        raise ValueError(
            f"`loss` of task '{spec.name}' must be of values, as "
            f"'mean_squared_error', since its kind is 'regression'. Received: {kind}"
        )
    if getattr(loss, "from_logits", True) is False:
        raise ValueError(
            f"`loss` of task '{spec.name}' must be on logits, as the model's outputs "
            f"are: {kind}(from_logits=True). Received: {kind}(from_logits=False)"
        )
    if isinstance(loss, ON_PROBABILITIES):
        raise ValueError(
            f"`loss` of task '{spec.name}' must be on logits, as the model's outputs "
            f"are. Received: {kind}, which expects probabilities. Use a crossentropy, "
            "or a function that makes them: lambda y, logits: "
            "loss(y, keras.ops.softmax(logits))"
        )
    if loss.reduction not in REDUCTIONS:
        raise ValueError(
            f"`loss` of task '{spec.name}' must have a reduction of {REDUCTIONS}. "
            f"Received: reduction={loss.reduction!r}"
        )
    if spec.num_classes == 1 and isinstance(loss, CATEGORICAL):
        raise ValueError(
            f"Task '{spec.name}' has num_classes=1: the loss {kind} is 0 whatever the "
            "model answers, and nothing is learned. For yes or no use num_classes=2, "
            f"or loss={{'{spec.name}': 'binary_crossentropy'}} and labels 0 and 1"
        )
