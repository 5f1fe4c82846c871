"""One frozen Vision Transformer, any number of tasks in one forward pass."""

from keras_memvit import _command as _command
from keras_memvit import data
from keras_memvit import layers
from keras_memvit import plot
from keras_memvit import readouts
from keras_memvit import recipes
from keras_memvit import report
from keras_memvit.backbones.text_head import text_head
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.models.build import build
from keras_memvit.models.compose import concatenate
from keras_memvit.models.compose import extend
from keras_memvit.models.compose import select
from keras_memvit.models.load_model import load_model
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.sharing import inspect
from keras_memvit.models.sharing import load_task
from keras_memvit.models.sharing import save_task
from keras_memvit.models.shrink import shrink
from keras_memvit.models.unify import unify
from keras_memvit.serving import TaskBank
from keras_memvit.serving import export_onnx
from keras_memvit.serving import export_saved_model
from keras_memvit.states import StateStore
from keras_memvit.states import precompute
from keras_memvit.tasks.attention_mask import attention_mask
from keras_memvit.tasks.push_task import push_task
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.version import __version__ as __version__

__all__ = [
    "MemoryViT",
    "StateStore",
    "TaskBank",
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
    "load_model",
    "load_task",
    "plot",
    "precompute",
    "push_task",
    "readouts",
    "recipes",
    "report",
    "save_task",
    "select",
    "shrink",
    "text_head",
    "unify",
]
