"""Every public name: the library's `__all__`, and that of each public room."""

import importlib
import types

import keras_memvit

# Rooms that are imported by their own name; the others are in `keras_memvit.__all__`.
ROOMS = ["keras_memvit.serving", "keras_memvit.states", "keras_memvit.rivals"]


def public_objects():
    """A dict from the shortest dotted name to each public class and function."""
    found, seen = {}, set()
    modules = [keras_memvit, *map(importlib.import_module, ROOMS)]
    while modules:
        module = modules.pop(0)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, types.ModuleType):
                modules.append(value)
            elif callable(value) and id(value) not in seen:
                seen.add(id(value))
                found[f"{module.__name__}.{name}"] = value
    return found
