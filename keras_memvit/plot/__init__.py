"""Pictures of who attends to whom; needs matplotlib.

Imports `models` and the rooms below it.
"""

from keras_memvit.plot.figures import attention
from keras_memvit.plot.figures import attention_mask
from keras_memvit.plot.figures import class_token_attention

__all__ = ["attention", "attention_mask", "class_token_attention"]
