"""Frozen states computed once an image, ever.

Imports `files`, `layers` and `backbones`: states know of no task.
"""

from keras_memvit.states.precompute import precompute
from keras_memvit.states.store import StateStore

__all__ = ["StateStore", "precompute"]
