"""Readouts by name: what a task's spec, its file and a model's config hold of one."""

import weakref

_READOUTS = {}
_CLASSES = weakref.WeakSet()  # with those of a notebook's cell that was run again


def register_readout(cls):
    """Makes a readout class known by its `name`; a class decorator.

    Args:
        cls: a subclass of `keras_memvit.readouts.Readout` whose class attribute
            `name` is a string that no other readout has.

    Returns:
        The class.

    Raises:
        ValueError: if `name` is no string or another class has it.
    """
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"`name` of the readout {cls.__qualname__} must be a string. "
            f"Received: name={name!r}"
        )
    known = _READOUTS.get(name)
    # A notebook's cell that is run again may replace its own class, and nothing else.
    if known is not None and _origin(known) != _origin(cls):
        raise ValueError(
            f"`name` of the readout {cls.__qualname__} must not be taken. Received: "
            f"name={name!r}, which is {known.__qualname__}'s"
        )
    _READOUTS[name] = cls
    _CLASSES.add(cls)
    return cls


def _origin(cls):
    return cls.__module__, cls.__qualname__


def known_readouts() -> dict[str, type]:
    """The registered classes by name, a dict.

    Returns:
        A new dict, in which changes register nothing.

    Example:

    >>> "deep" in keras_memvit.readouts.known_readouts()
    True
    """
    return dict(_READOUTS)


def get_readout(value):
    """The readout that a name, a config or an object stands for.

    Args:
        value: a registered name, a dict `{"name": ..., **config}`, or a readout
            of a registered class.

    Raises:
        ValueError: if there is no such readout; lists the known ones.
    """
    config = {"name": value} if isinstance(value, str) else value
    name = config.get("name") if isinstance(config, dict) else None
    if isinstance(name, str) and name in _READOUTS:
        config = {key: _as_tuples(item) for key, item in config.items()}
        cls = _READOUTS[config.pop("name")]
        try:
            return cls(**config)
        except TypeError as error:
            raise ValueError(
                f"`readout` {cls.name!r} does not take the arguments {config}: {error}"
            ) from error
    if type(value) in _CLASSES:
        return value
    raise ValueError(
        f"`readout` must be one of {sorted(_READOUTS)}, or an object of a registered "
        f"class of `keras_memvit.readouts`. Received: readout={value!r}"
    )


def _as_tuples(value):
    """JSON has lists where a readout, which must be hashable, has tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(_as_tuples(item) for item in value)
    return value


def readout_config(readout):
    """What `get_readout` makes it of again: its name, or a dict with its arguments."""
    config = readout.get_config()
    return {"name": readout.name, **config} if config else readout.name
