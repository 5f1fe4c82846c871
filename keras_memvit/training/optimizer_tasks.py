"""Which optimiser can be every task's, and which variables are whose."""

import keras


def check_wrappable(optimizer):
    """Refuses what has no single learning rate, and double wrapping."""
    # Several in one have `optimizers`; what is wrapped already has `loss_scaling`.
    wrapped = hasattr(optimizer, "optimizers") or hasattr(optimizer, "loss_scaling")
    if wrapped or not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            "`optimizer` must be a `keras.optimizers.Optimizer` with one learning "
            "rate; `learning_rate_multipliers` sets rates by group of variables. "
            f"Received: {type(optimizer).__name__}"
        )


def rates_of(known, variables):
    """The given variables with their factors, by task, in the given order.

    Args:
        known: dict from task name to a list of `(variable, factor)`.
        variables: list of variables, all of which must be among these.
    """
    owners = {
        id(variable): (task, factor)
        for task, pairs in known.items()
        for variable, factor in pairs
    }
    strays = [v.path for v in variables if id(v) not in owners]
    if strays:
        raise ValueError(
            "`variables` must be those of the tasks that the optimiser was made "
            f"for, {list(known)}. Received also: {strays}"
        )
    rates = {}
    for variable in variables:
        task, factor = owners[id(variable)]
        rates.setdefault(task, []).append((variable, factor))
    return rates
