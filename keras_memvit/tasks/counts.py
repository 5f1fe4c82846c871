"""What counts as a number of things."""

import operator


def as_count(value, what):
    """An int of at least 1, whatever integer type it came as.

    Args:
        value: what was given.
        what: str. The argument's name, first word of the error.

    Raises:
        ValueError: if it is no integer of at least 1, or a bool.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        argument = what.split("`")[1]
        raise ValueError(
            f"{what} must be an integer of at least 1. Received: {argument}={value!r}"
        )
    return count
