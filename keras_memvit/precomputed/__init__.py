"""Frozen states computed once an image, ever."""

from keras_memvit.precomputed.store import StateStore
from keras_memvit.precomputed.writer import precompute

__all__ = ["StateStore", "precompute"]
