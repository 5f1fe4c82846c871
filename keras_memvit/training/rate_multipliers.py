"""Learning rates by task, and within a task by group of variables."""

import math
import numbers


def rates_by_task(multipliers, task_layers):
    """Checks `compile`'s `learning_rate_multipliers` and spreads it over variables.

    Args:
        multipliers: dict from task name to a factor, or to a dict from group
            (`TaskWeights.parameter_groups`) to a factor.
        task_layers: dict from task name to `TaskWeights`.

    Returns:
        A dict from task name to a list of `(variable, factor)`.

    Raises:
        ValueError: if a task or group is unknown, or a factor no number of at
            least 0.
    """
    _check_names(multipliers, task_layers, "the model's tasks")
    rates = {}
    for task, layer in task_layers.items():
        groups = layer.parameter_groups
        factors = multipliers.get(task, 1.0)
        if isinstance(factors, dict):
            _check_names(factors, groups, f"the groups of task '{task}'")
        else:
            factors = dict.fromkeys(groups, factors)
        found = {}
        for group, variables in groups.items():
            factor = _factor(factors.get(group, 1.0), task)
            found.update({id(variable): factor for variable in variables})
        rates[task] = [(v, found.get(id(v), 1.0)) for v in layer.weights]
    return rates


def _check_names(given, known, what):
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"`learning_rate_multipliers` must be keyed by {what} {list(known)}. "
            f"Received: {unknown}"
        )


def _factor(value, task):
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(
            f"`learning_rate_multipliers` of task '{task}' must be numbers of at "
            f"least 0. Received: {value!r}"
        )
    return float(value)
