"""`ViTBackbone`, and one converter a family from its weights to it.

Imports `layers`; KerasHub where a preset is named.
"""

from keras_memvit.backbones.convert import KNOWN_BACKBONES
from keras_memvit.backbones.convert import convert

__all__ = ["KNOWN_BACKBONES", "convert"]
