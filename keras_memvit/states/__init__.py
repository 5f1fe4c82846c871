"""Frozen states computed once an image, ever.

Imports `files`, `layers` and `backbones`: states know of no task.
"""

from keras_memvit.states.store import StateStore
from keras_memvit.states.writer import precompute

__all__ = ["StateStore", "precompute"]
