"""Training, evaluation and prediction from a store of frozen states."""

import contextlib
import functools
import inspect

from keras_memvit.training.loops import TaskLoops

FUNCTIONS = ("train_function", "test_function", "predict_function")


class StateReader:
    """Lets a model take a `StateStore` where it takes images.

    A mixin in front of `TaskTrainer` and `keras.Model`; the model has
    `attention`, `backbone` and `encoder`.
    """

    _reads_states = False
    _state_functions = {}

    def call(self, inputs, training=None, mask=None):
        """Images, or the states of a store while one is read: to logits."""
        if self._reads_states:
            return self.encoder.read(inputs)
        return super().call(inputs, training=training, mask=mask)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        self._state_functions = {}

    @functools.wraps(TaskLoops.fit)
    def fit(self, *args, **kwargs):
        given = _arguments(TaskLoops.fit, self, *args, **kwargs)
        x, validation = given.pop("x", None), given.get("validation_data")
        if not is_store(x):
            _refuse("validation_data", validation, "x holds images")
            return super().fit(x, **given)
        if validation is not None and not is_store(validation):
            raise ValueError(
                "`validation_data` must be a StateStore where `x` is one. Received "
                f"one of type {type(validation).__name__}"
            )
        batch_size = given.pop("batch_size", None) or 32
        with self._reading(x, given.pop("y", None)):
            if validation is not None:
                validation.check(self.backbone)
                size = given.pop("validation_batch_size", None) or batch_size
                given["validation_data"] = validation.batches(size)
            batches = x.batches(batch_size, shuffle=given.pop("shuffle", True))
            return super().fit(batches, **given)

    @functools.wraps(TaskLoops.evaluate)
    def evaluate(self, *args, **kwargs):
        given = _arguments(TaskLoops.evaluate, self, *args, **kwargs)
        x = given.pop("x", None)
        if not is_store(x):
            return super().evaluate(x, **given)
        batch_size = given.pop("batch_size", None) or 32
        with self._reading(x, given.pop("y", None)):
            return super().evaluate(x.batches(batch_size), **given)

    @functools.wraps(TaskLoops.predict)
    def predict(self, *args, **kwargs):
        given = _arguments(TaskLoops.predict, self, *args, **kwargs)
        x = given.pop("x")
        if not is_store(x):
            return super().predict(x, **given)
        batch_size = given.pop("batch_size", None) or 32
        with self._reading(x):
            return super().predict(x.batches(batch_size), **given)

    @contextlib.contextmanager
    def _reading(self, store, y=None):
        """Takes states as inputs; the compiled functions of images are kept."""
        if y is not None:
            raise ValueError("`y` must be None where `x` is a StateStore, which has it")
        if self.attention != "masked":
            raise ValueError(
                "A StateStore serves masked attention: an unmasked task changes the "
                "base tokens. Received a model with attention='unmasked'"
            )
        store.check(self.backbone)
        kept = {name: getattr(self, name) for name in FUNCTIONS}
        spec, self.input_spec, self._reads_states = self.input_spec, None, True
        for name in FUNCTIONS:
            setattr(self, name, self._state_functions.get(name))
        try:
            yield
        finally:
            self._state_functions = {name: getattr(self, name) for name in FUNCTIONS}
            for name, function in kept.items():
                setattr(self, name, function)
            self.input_spec, self._reads_states = spec, False


def is_store(data):
    """Whether this is a `StateStore`."""
    return hasattr(data, "state_shape")


def _arguments(method, *args, **kwargs):
    """What was given, by name, whether by position or not."""
    given = inspect.signature(method).bind(*args, **kwargs).arguments
    given.pop("self")
    others = given.pop("kwargs", {})
    return {**given, **others}


def _refuse(argument, value, because):
    if is_store(value):
        raise ValueError(f"`{argument}` must not be a StateStore, since {because}")
