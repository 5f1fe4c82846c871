"""Training recipes."""

from keras_memvit.baselines import baseline
from keras_memvit.early_stopping import TaskEarlyStopping
from keras_memvit.schedules import WarmupCosine
from keras_memvit.schedules import adamw_optimizer
from keras_memvit.schedules import paper_optimizer
from keras_memvit.sweep import SweepResult
from keras_memvit.sweep import sweep

__all__ = [
    "SweepResult",
    "TaskEarlyStopping",
    "WarmupCosine",
    "adamw_optimizer",
    "baseline",
    "paper_optimizer",
    "sweep",
]
