"""Small data and a small backbone, to show all of an experiment in no time."""

import keras
import numpy as np

from keras_memvit.backbones.vit_backbone import ViTBackbone


def smoke_data(num_classes=3):
    """Classes that differ in their mean colour: one channel is bright, or two are."""
    rng = np.random.default_rng(0)
    count = 30 * num_classes
    labels = np.arange(count) % num_classes
    images = rng.integers(0, 120, (count, 32, 32, 3))
    images[np.arange(count), ..., labels % 3] += 100
    two = labels >= 3
    images[two, ..., (labels[two] + 1) % 3] += 100
    return images.astype("uint8"), labels


def smoke_backbone():
    keras.utils.set_random_seed(0)
    return ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=16,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
    )
