"""Data: labelled images from anywhere, checks of them, mixtures of data sets.

Imports `training` for labels, `backbones` for checks, `models` and `states` for bulk
work; Pillow, TFDS, scikit-learn and Ray where they are used.
"""

from keras_memvit.data.checks import DataCheck
from keras_memvit.data.checks import check
from keras_memvit.data.image_batches import ImageBatches
from keras_memvit.data.load import LabelledImages
from keras_memvit.data.load import load
from keras_memvit.data.mixture import TaskMixture
from keras_memvit.data.mixture import mix
from keras_memvit.data.precompute_folder import precompute_folder
from keras_memvit.data.predict_folder import predict_folder

__all__ = [
    "DataCheck",
    "ImageBatches",
    "LabelledImages",
    "TaskMixture",
    "check",
    "load",
    "mix",
    "precompute_folder",
    "predict_folder",
]
