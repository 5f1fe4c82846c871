"""One frozen Vision Transformer, any number of tasks in one forward pass."""

from keras_memvit import layers
from keras_memvit import recipes
from keras_memvit.attention_mask import attention_mask
from keras_memvit.backbone import ViTBackbone
from keras_memvit.builder import build
from keras_memvit.compose import concatenate
from keras_memvit.compose import extend
from keras_memvit.compose import select
from keras_memvit.model import MemoryViT
from keras_memvit.task_spec import TaskSpec

__version__ = "0.1.0"

__all__ = [
    "MemoryViT",
    "TaskSpec",
    "ViTBackbone",
    "attention_mask",
    "build",
    "concatenate",
    "extend",
    "layers",
    "recipes",
    "select",
]
