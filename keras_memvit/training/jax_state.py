"""Keeping a model whole when training on JAX fails."""

import contextlib

import keras


@contextlib.contextmanager
def restores_variables(model):
    """Puts a model's values back if a run on JAX ends in an error.

    Keras' JAX trainer takes the values out of the variables while it runs and
    puts them back after a step or an epoch; an error before the first step,
    such as an image of the wrong size, would leave the model without weights.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    variables += optimizer.variables if optimizer is not None else []
    values = [variable._value for variable in variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()  # what the last finished step left
        for variable, value in zip(variables, values):
            if variable._value is None and value is not None and not value.is_deleted():
                variable._value = value
        model._jax_state = None
        raise
