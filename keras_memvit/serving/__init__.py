"""Serving: multi-task SavedModels from any backend."""

from keras_memvit.serving.export import export_saved_model

__all__ = ["export_saved_model"]
