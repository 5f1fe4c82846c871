"""Training recipes."""

from keras_memvit.early_stopping import TaskEarlyStopping
from keras_memvit.schedules import WarmupCosine
from keras_memvit.schedules import paper_optimizer

__all__ = ["TaskEarlyStopping", "WarmupCosine", "paper_optimizer"]
