"""Tasks that come and go while they are served: `TaskBank`.

Imports `models` and the rooms below it, and of `serving` what builds SavedModels.
"""

from keras_memvit.serving.bank.task_bank import TaskBank

__all__ = ["TaskBank"]
