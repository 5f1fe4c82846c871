"""The Keras layers that a frozen encoder is made of.

Imports `tasks`, of which a layer knows no more than a `TaskLayout` says.
"""

from keras_memvit.layers.attention_pooling import AttentionPooling
from keras_memvit.layers.base_classifier import BaseClassifier
from keras_memvit.layers.encoder_block import EncoderBlock
from keras_memvit.layers.image_normalization import ImageNormalization
from keras_memvit.layers.masked_mha import MaskedMHA
from keras_memvit.layers.memory_tokens import MemoryTokens
from keras_memvit.layers.mlp import MLP
from keras_memvit.layers.patch_embedding import PatchEmbedding
from keras_memvit.layers.text_classifier import TextClassifier

__all__ = [
    "AttentionPooling",
    "BaseClassifier",
    "EncoderBlock",
    "ImageNormalization",
    "MLP",
    "MaskedMHA",
    "MemoryTokens",
    "PatchEmbedding",
    "TextClassifier",
]
