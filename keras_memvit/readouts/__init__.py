"""How a task takes from the frozen stream: one file and one class a kind.

Imports `tasks`, `layers` and `backbones`.

Example:

>>> task = keras_memvit.TaskSpec("count", 8, readout="side")
>>> task.readout
Side(rank=16, num_heads=1)
"""

from keras_memvit.readouts.class_token import ClassToken
from keras_memvit.readouts.deep import Deep
from keras_memvit.readouts.image_embedding import ImageEmbedding
from keras_memvit.readouts.readout import Parameter
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import Task
from keras_memvit.readouts.readout import register
from keras_memvit.readouts.side import Side
from keras_memvit.readouts.synthesised import Synthesised
from keras_memvit.tasks.readout_names import known_readouts

__all__ = [
    "ClassToken",
    "Deep",
    "ImageEmbedding",
    "Parameter",
    "Readout",
    "Side",
    "Synthesised",
    "Task",
    "known_readouts",
    "register",
]
