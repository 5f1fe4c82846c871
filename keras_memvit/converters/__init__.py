"""One converter a family, from its weights to our `ViTBackbone`."""

from keras_memvit.converters.convert import KNOWN_BACKBONES
from keras_memvit.converters.convert import convert

__all__ = ["KNOWN_BACKBONES", "convert"]
