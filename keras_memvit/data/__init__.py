"""Data for several tasks."""

from keras_memvit.data.mixture import TaskMixture
from keras_memvit.data.mixture import mix

__all__ = ["TaskMixture", "mix"]
