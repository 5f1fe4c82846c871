"""Arguments of `compile` and `fit` by task: one for all, a dict, or Keras' lists."""


def by_task(argument, value, specs):
    """Spreads one value over all tasks, or checks a dict by task name.

    Args:
        argument: how an error calls it.
        value: a dict by task name, or one value for all tasks.
        specs: list of `TaskSpec`.

    Returns:
        A dict from task name to a value; None where a dict has none.
    """
    names = [spec.name for spec in specs]
    if not isinstance(value, dict):
        return dict.fromkeys(names, value)
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ValueError(
            f"`{argument}` must be keyed by the model's tasks {names}. "
            f"Received the unknown task names {unknown}"
        )
    return {name: value.get(name) for name in names}


def by_task_or_list(argument, value, specs):
    """As `by_task`; a list has one value a task, in the order of the tasks."""
    if isinstance(value, (list, tuple)):
        value = _in_order(argument, value, specs)
    return by_task(argument, value, specs)


def lists_by_task(argument, value, specs):
    """As `by_task`, of lists: a flat one is for all tasks, a nested one has one each.

    Returns:
        A dict from task name to a list.
    """
    nested = isinstance(value, (list, tuple)) and any(
        isinstance(item, (list, tuple)) for item in value
    )
    if nested:
        value = _in_order(argument, value, specs)
    return {k: _as_list(v) for k, v in by_task(argument, value, specs).items()}


def _in_order(argument, values, specs):
    names = [spec.name for spec in specs]
    if len(values) != len(names):
        raise ValueError(
            f"`{argument}`, as a list by task, must have one entry for each of the "
            f"tasks {names}, in this order. Received {len(values)} entries; a dict "
            "by task name may leave tasks out"
        )
    return dict(zip(names, values))


def _as_list(value):
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
