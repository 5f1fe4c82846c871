"""What learnable memory is compared with, one file a method.

Imports `backbones` and the rooms below it; nothing here is part of a `MemoryViT`.
"""

from keras_memvit.rivals.baseline import RIVALS
from keras_memvit.rivals.baseline import baseline

__all__ = ["RIVALS", "baseline"]
