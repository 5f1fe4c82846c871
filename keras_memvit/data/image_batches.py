"""Batches of labelled images, cropped at random the same way under one seed."""

import copy
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_memvit.data.pictures import inception_crop
from keras_memvit.data.pictures import padded_crop
from keras_memvit.data.pictures import resize

CROPS = {"inception": inception_crop, "pad": padded_crop}


class ImageBatches(keras.utils.PyDataset):
    """Batches `(images, labels)`: uint8 `(B, height, width, 3)`, int32 `(B,)`.

    Order and crops are those of the seed and the epoch, whatever the number
    of threads that read ahead.

    Args:
        examples: sequence of `(image, label)`; an image is a function without
            arguments that returns uint8 `(h, w, 3)`.
        image_size: `(height, width)`.
        batch_size: int.
        augment: None, `"inception"` or `"pad"`.
        shuffle: bool.
        seed: int.
    """

    def __init__(
        self,
        examples: Sequence[tuple[Callable[[], np.ndarray], int]],
        image_size: tuple[int, int],
        batch_size: int,
        augment: str | None,
        shuffle: bool,
        seed: int,
    ) -> None:
        super().__init__(workers=2, max_queue_size=4)  # threads read ahead
        self.examples = examples
        self.image_size = image_size
        self.batch_size = batch_size
        self.augment = augment
        self.shuffle = shuffle
        self.seed = seed
        self.set_epoch(0)

    @property
    def num_images(self) -> int:
        """Images an epoch."""
        return len(self.examples)

    def set_epoch(self, epoch: int) -> None:
        """Decides the order and the crops."""
        self.epoch = epoch
        self.order = np.arange(len(self.examples))
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.permutation(self.order)

    def ordered(self, augment: str | None = None) -> "ImageBatches":
        """The same images in their own order, for `precompute`.

        Args:
            augment: as in `load`; with it each view of a store has other crops.
        """
        other = copy.copy(self)
        other.augment, other.shuffle = augment, False
        other.set_epoch(0)
        return other

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images and labels in their own order, not augmented."""
        batches = self.ordered()
        images, labels = zip(*(batches[i] for i in range(len(batches))))
        return np.concatenate(images), np.concatenate(labels)

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = np.stack([self._image(row) for row in rows])
        return images, np.array([self.examples[row][1] for row in rows], dtype="int32")

    def _image(self, row):
        image = self.examples[row][0]()
        if self.augment is None:
            return resize(image, self.image_size)
        rng = np.random.default_rng([self.seed, self.epoch, int(row)])
        return CROPS[self.augment](image, self.image_size, rng)
