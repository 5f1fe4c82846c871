"""What a `TaskOptimizer` keeps in a file: each task's state under its name."""

import warnings


def save_state(optimizer, store):
    """Writes variables, and where `TaskEarlyStopping` stood.

    Args:
        optimizer: a `TaskOptimizer`.
        store: a dict of arrays.
    """
    for name, variable in _variables(optimizer).items():
        store[name] = variable.numpy()
    for name, (variable, index) in _entries(optimizer).items():
        store[name] = variable.numpy()[index]
    for name, array in optimizer.stopping.arrays().items():
        store[name] = array


def load_state(optimizer, store):
    """The inverse of `save_state`; tasks may stand in another order.

    Args:
        optimizer: a `TaskOptimizer`.
        store: a dict of arrays.
    """
    names = list(store.keys())
    optimizer.stopping.read(store)
    variables, entries = _variables(optimizer), _entries(optimizer)
    if all(name.isdigit() for name in names) and optimizer.inner:
        # Of former versions, whose variables stand in one list.
        variables = {str(i): v for i, v in enumerate(optimizer.lasting_variables)}
        entries = {}
    saved = {name for name in names if not optimizer.stopping.owns(name)}
    if saved != {*variables, *entries}:
        warnings.warn(
            f"Skipping variable loading for optimizer '{optimizer.name}': the file has "
            f"another optimizer's state, or one of other tasks. It has "
            f"{len(saved)} variables and the model {len(variables) + len(entries)}",
            stacklevel=4,
        )
        return
    for name, variable in variables.items():
        variable.assign(store[name])
    values = {}
    for name, (variable, index) in entries.items():
        found = values.setdefault(id(variable), (variable, variable.numpy().copy()))
        found[1][index] = store[name]
    for variable, value in values.values():
        variable.assign(value)


def _variables(optimizer):
    """By name: the common ones, and each task's own."""
    found = {str(i): v for i, v in enumerate(optimizer.base_optimizer.variables)}
    for task, own in optimizer.inner.items():
        found.update({f"{task}.{i}": v for i, v in enumerate(own.variables)})
    return found


def _entries(optimizer):
    """By name: a task's place in variables that have one for each."""
    found = {}
    for i, task in enumerate(optimizer.inner):
        found[f"{task}.finished"] = optimizer.finished, i
        if optimizer.scales is not None:
            group = optimizer.scales.index[task]
            found[f"{task}.loss_scale"] = optimizer.scales.scale, group
            found[f"{task}.finite_steps"] = optimizer.scales.finite_steps, group
    return found
