"""Which tasks a task sees: the relation closed transitively, cycles refused."""


def visible_tasks(specs):
    """Closes the "sees" relation transitively.

    Args:
        specs: list of `TaskSpec` with unique names.

    Returns:
        A dict from each task's name to the list of names it may attend to
        besides its own, in the order of `specs`.

    Raises:
        ValueError: if a `sees` names no task of the list, or forms a cycle.
    """
    position = {spec.name: i for i, spec in enumerate(specs)}
    for spec in specs:
        for name in spec.sees:
            if name not in position:
                raise ValueError(
                    f"`sees` of task '{spec.name}' must name other tasks of the model: "
                    f"{[n for n in position if n != spec.name]}. Received: {name!r}"
                )
    closed = {}
    for spec in _seen_first(specs, position):
        reached = set(spec.sees).union(*(closed[name] for name in spec.sees))
        closed[spec.name] = sorted(reached, key=position.__getitem__)
    return {spec.name: closed[spec.name] for spec in specs}


def _seen_first(specs, position):
    """Orders specs so that each comes after all it sees (Kahn's algorithm)."""
    seen_by = {spec.name: [] for spec in specs}
    waiting = {spec.name: len(set(spec.sees)) for spec in specs}
    for spec in specs:
        for name in set(spec.sees):
            seen_by[name].append(spec.name)
    ready = [spec.name for spec in specs if waiting[spec.name] == 0]
    for name in ready:  # grows while it is walked
        for seeing in seen_by[name]:
            waiting[seeing] -= 1
            if waiting[seeing] == 0:
                ready.append(seeing)
    if len(ready) < len(specs):
        cycle = [spec.name for spec in specs if waiting[spec.name]]
        raise ValueError(
            "`sees` must not form a cycle: a task sees only tasks that do not "
            f"see it. Received a cycle among the tasks {cycle}"
        )
    return [specs[position[name]] for name in ready]
