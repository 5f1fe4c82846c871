"""What a frozen backbone says of pictures."""

import keras
import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.data.image_batches import ImageBatches


def features_of(pictures, backbone, image_size, batch_size, verbose):
    """The class token and the mean patch of every picture, float32 `(n, F)`.

    Args:
        pictures: list of `Picture`.
        backbone: what `build` takes.
        image_size: `(height, width)`, or None for the backbone's.
        batch_size: int.
        verbose: int, 0 = silent, 1 = a progress bar.
    """
    shape = None if image_size is None else (*image_size, 3)
    backbone, _ = convert(backbone, image_shape=shape)
    examples = [(picture.read, picture.label) for picture in pictures]
    size = backbone.image_shape[:2]
    options = (None, False, 0, backbone.resizing)
    batches = ImageBatches(examples, size, batch_size, *options)
    progress = keras.utils.Progbar(len(batches), verbose=verbose, unit_name="batch")
    found = []
    for i in range(len(batches)):
        tokens = np.asarray(backbone.predict_on_batch(batches[i][0]), "float32")
        patches = tokens[:, backbone.num_base_tokens :].mean(1)
        first = [tokens[:, 0]] if backbone.use_class_token else []
        found.append(np.concatenate([*first, patches], -1))
        progress.update(i + 1)
    return np.concatenate(found)
