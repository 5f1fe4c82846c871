"""Data: labelled images from anywhere, and batches of several data sets in turn.

Imports `training` for labels; Pillow and TFDS where they are used.
"""

from keras_memvit.data.image_batches import ImageBatches
from keras_memvit.data.load import LabelledImages
from keras_memvit.data.load import load
from keras_memvit.data.mixture import TaskMixture
from keras_memvit.data.mixture import mix

__all__ = ["ImageBatches", "LabelledImages", "TaskMixture", "load", "mix"]
