"""Serving: tasks as a SavedModel or an ONNX file, or in a bank that takes new ones.

Imports `models` and the rooms below it; TensorFlow where it is used.
"""

from keras_memvit.serving.bank import TaskBank
from keras_memvit.serving.onnx_export import export_onnx
from keras_memvit.serving.saved_model_export import export_saved_model

__all__ = ["TaskBank", "export_onnx", "export_saved_model"]
