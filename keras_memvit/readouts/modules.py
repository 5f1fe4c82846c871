"""Which modules another process imports before it loads a model."""


def readout_modules(specs, process):
    """Names of the modules that register the readouts of a model's tasks, sorted.

    Args:
        specs: list of `TaskSpec`.
        process: str. What is to load the model, for the error.

    Raises:
        ValueError: if one is the program itself, which no other process imports.
    """
    modules = sorted({type(spec.readout).__module__ for spec in specs})
    if "__main__" in modules:
        raise ValueError(
            "`model` has a readout whose class is defined in `__main__`, where "
            f"{process} cannot import it: move it to a module. "
            f"Received the tasks {[spec.name for spec in specs]}"
        )
    return modules
