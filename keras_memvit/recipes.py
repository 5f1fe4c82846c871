"""Training recipes."""

from keras_memvit.schedules import WarmupCosine
from keras_memvit.schedules import paper_optimizer

__all__ = ["WarmupCosine", "paper_optimizer"]
