"""Batches of which one process of several reads its own images alone."""

import concurrent.futures

import keras
import numpy as np

from keras_memvit.data.crops import resize
from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import UnreadableImage


class PartBatches(keras.utils.PyDataset):
    """Image files in order, for one of several processes that write a store.

    What `only` does not ask for is black, and not read.

    Args:
        examples: list of `(ImageFile, label)`, or of `(ImageFile, None)`.
        image_size: `(height, width)`.
        resizing: str, as of `data.load`.
        batch_size, threads: ints.
    """

    def __init__(self, examples, image_size, resizing, batch_size, threads):
        super().__init__()
        self.examples = examples
        self.image_size = image_size
        self.resizing = resizing
        self.batch_size = batch_size
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)
        self.wanted = None

    @property
    def num_images(self):
        """Images in all."""
        return len(self.examples)

    def only(self, wanted):
        """Takes a function of an image's number: whether it is to be read."""
        self.wanted = wanted
        return self

    def __len__(self):
        return -(-len(self.examples) // self.batch_size)

    def __getitem__(self, index):
        first = index * self.batch_size
        rows = self.examples[first : first + self.batch_size]
        images = np.zeros((len(rows), *self.image_size, 3), "uint8")
        own = [
            i for i in range(len(rows)) if self.wanted is None or self.wanted(first + i)
        ]
        for i, pixels in zip(own, self.pool.map(self._read, [rows[i][0] for i in own])):
            images[i] = pixels
        labels = [label for _, label in rows]
        return (images,) if labels[0] is None else (images, np.array(labels, "int32"))

    def _read(self, file):
        try:
            return resize(file(), self.image_size, self.resizing)
        except UnreadableImage as error:
            raise ValueError(
                "`source` must hold images that stay as they were first found. "
                f"Received: {printable(file.path)}, which can be read no more "
                f"({error}): bring it back and call again"
            ) from error
