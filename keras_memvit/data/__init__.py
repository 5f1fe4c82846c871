"""Data: labelled images from anywhere, checks of them, mixtures of data sets.

Imports `training` for labels and `backbones` for checks; Pillow, TFDS and
scikit-learn where they are used.
"""

from keras_memvit.data.checks import DataCheck
from keras_memvit.data.checks import check
from keras_memvit.data.image_batches import ImageBatches
from keras_memvit.data.load import LabelledImages
from keras_memvit.data.load import load
from keras_memvit.data.mixture import TaskMixture
from keras_memvit.data.mixture import mix

__all__ = [
    "DataCheck",
    "ImageBatches",
    "LabelledImages",
    "TaskMixture",
    "check",
    "load",
    "mix",
]
