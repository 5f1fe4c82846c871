"""`fit(class_weight=...)`: a table of weights by task."""

import contextlib

import numpy as np

from keras_memvit.training.compile_arguments import by_task


def parse_class_weight(class_weight, objectives, trained):
    """`{task: {class: weight}}`, or `{class: weight}` for one trained task.

    Args:
        class_weight: as above, or None.
        objectives: dict from task name to `TaskObjective`.
        trained: names of the tasks that are trained.

    Returns:
        A dict from task name to a float32 array with a weight for each class; of a
        multi-label task for the positives of each column.
    """
    if class_weight is None:
        return {}
    specs = [objective.spec for objective in objectives.values()]
    if not any(isinstance(value, dict) for value in class_weight.values()):
        candidates = trained or list(objectives)
        if len(candidates) != 1:
            raise ValueError(
                "`class_weight` must be a dict by task name, {task: {class: weight}}, "
                f"since the model trains {candidates}. "
                f"Received: class_weight={class_weight}"
            )
        class_weight = {candidates[0]: class_weight}
    table = {}
    for name, weights in by_task("class_weight", class_weight, specs).items():
        if weights is None:
            continue
        spec = objectives[name].spec
        if spec.kind == "regression":
            raise ValueError(
                f"`class_weight` of task '{name}' must be None: its kind is "
                "'regression', which has no classes. Use `sample_weight`"
            )
        multiple = spec.kind == "multi_label"
        size = spec.num_classes if multiple else objectives[name].num_ids
        if not all(isinstance(c, (int, np.integer)) and 0 <= c < size for c in weights):
            raise ValueError(
                f"`class_weight` of task '{name}' must be keyed by classes 0 to "
                f"{size - 1}. Received: {weights}"
            )
        table[name] = np.ones(size, "float32")
        for index, weight in weights.items():
            table[name][index] = weight
    return table


class WeighsClasses:
    """In front of a `keras.Model` with `objectives` and `trained_tasks`."""

    @contextlib.contextmanager
    def _weighing_classes(self, class_weight):
        """Weighs classes meanwhile; a step traced with other weights is traced anew."""
        table = parse_class_weight(class_weight, self.objectives, self.trained_tasks)
        own = vars(self)
        outer = own.get("_class_weights")  # of a `fit` that this call is in
        before = own.get("_traced_class_weights", {}), self.train_function
        if not _same(before[0], table):
            own["_traced_class_weights"], self.train_function = table, None
        try:
            self._set_class_weights(table)
            yield
        finally:
            self._set_class_weights(outer)
            if outer is not None:
                own["_traced_class_weights"], self.train_function = before

    def _set_class_weights(self, table):
        vars(self)["_class_weights"] = table
        for name, objective in self.objectives.items():
            objective.class_weight = (table or {}).get(name)


def _same(tables, others):
    """Whether two dicts of arrays are equal."""
    return tables.keys() == others.keys() and all(
        np.array_equal(table, others[name]) for name, table in tables.items()
    )
