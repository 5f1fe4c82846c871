"""Ready ways to train, and what they are made of.

Imports any room but `experiments`; `report` where a task is learned.
"""

from keras_memvit.recipes.candidates import Candidate
from keras_memvit.recipes.few_shot import few_shot
from keras_memvit.recipes.few_shot_result import FewShotResult
from keras_memvit.recipes.fixed import fixed
from keras_memvit.recipes.layout_map import layout_map
from keras_memvit.recipes.learn import learn
from keras_memvit.recipes.learn_result import LearnResult
from keras_memvit.recipes.prune import prune
from keras_memvit.recipes.resume import resume
from keras_memvit.recipes.sweep import SweepResult
from keras_memvit.recipes.sweep import sweep
from keras_memvit.rivals.baseline import baseline
from keras_memvit.training.early_stopping import TaskEarlyStopping
from keras_memvit.training.schedules import WarmupCosine
from keras_memvit.training.schedules import adamw_optimizer
from keras_memvit.training.schedules import paper_optimizer
from keras_memvit.training.torch_processes import data_parallel

__all__ = [
    "Candidate",
    "FewShotResult",
    "LearnResult",
    "SweepResult",
    "TaskEarlyStopping",
    "WarmupCosine",
    "adamw_optimizer",
    "baseline",
    "data_parallel",
    "few_shot",
    "fixed",
    "layout_map",
    "learn",
    "paper_optimizer",
    "prune",
    "resume",
    "sweep",
]
