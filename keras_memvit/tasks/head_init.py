"""What a task's head starts from."""

HEAD_INITS = (None, "text")


def check_head_init(spec):
    """Raises a `ValueError` unless a `TaskSpec` can start from its `head_init`."""
    if spec.head_init not in HEAD_INITS:
        raise ValueError(
            f"`head_init` of task '{spec.name}' must be one of {HEAD_INITS}. "
            f"Received: head_init={spec.head_init!r}"
        )
    if spec.head_init is None:
        return
    lacks = {
        "class_names": spec.class_names is None,
        "a kind with classes": spec.kind == "regression",
        "readout='class_token'": spec.readout.name != "class_token",
        "all of its head's inputs": spec.head_inputs is not None,
    }
    missing = [name for name, wrong in lacks.items() if wrong]
    if missing:
        raise ValueError(
            f"`head_init='text'` of task '{spec.name}' needs {', '.join(missing)}. "
            f"Received: class_names={spec.class_names}, kind={spec.kind!r}, "
            f"readout={spec.readout!r}"
        )
