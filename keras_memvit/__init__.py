"""One frozen Vision Transformer, any number of tasks in one forward pass."""

from keras_memvit import data
from keras_memvit import layers
from keras_memvit import plot
from keras_memvit import recipes
from keras_memvit.attention_mask import attention_mask
from keras_memvit.backbone import ViTBackbone
from keras_memvit.builder import build
from keras_memvit.compose import concatenate
from keras_memvit.compose import extend
from keras_memvit.compose import select
from keras_memvit.model import MemoryViT
from keras_memvit.precomputed import StateStore
from keras_memvit.precomputed import precompute
from keras_memvit.saving import inspect
from keras_memvit.saving import load_task
from keras_memvit.saving import save_task
from keras_memvit.serving import export_onnx
from keras_memvit.serving import export_saved_model
from keras_memvit.task_spec import TaskSpec
from keras_memvit.version import __version__ as __version__

__all__ = [
    "MemoryViT",
    "StateStore",
    "TaskSpec",
    "ViTBackbone",
    "attention_mask",
    "build",
    "concatenate",
    "data",
    "export_onnx",
    "export_saved_model",
    "extend",
    "inspect",
    "layers",
    "load_task",
    "plot",
    "precompute",
    "recipes",
    "save_task",
    "select",
]
