"""Batches of labelled images, cropped at random the same way under one seed."""

import copy
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_memvit.data.crops import inception_crop
from keras_memvit.data.crops import padded_crop
from keras_memvit.data.crops import resize
from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import check_resizing

CROPS = {"inception": inception_crop, "pad": padded_crop}
WARNINGS = 5  # files lost since they were found, each in a warning


class ImageBatches(keras.utils.PyDataset):
    """Batches `(images, labels)`: uint8 `(B, height, width, 3)`, int32 `(B,)`.

    Labels that are rows come as float32 `(B, C)`, those of several tasks as a dict.

    Order and crops are those of the seed and the epoch, whatever the number
    of threads that read ahead. `MemoryViT.fit` tells the epoch; any other pass
    of Keras over the data (`fit` of a plain model, `evaluate`, `predict`) goes
    on to the next. `ordered()` and `arrays()` keep one order.

    In place of an image that can be read no more, because its file vanished or
    changed, comes the next one that can, with its own label; `lost` and a
    warning name the file.

    Args:
        examples: sequence of `(image, label)`; an image is a function without
            arguments that returns uint8 `(h, w, 3)`, a label an int, a row `(C,)`, or
            a dict of such by task name.
        image_size: `(height, width)`.
        batch_size: int.
        augment: None, `"inception"` or `"pad"`.
        shuffle: bool.
        seed: int.
        resizing: str, as of `load`. Defaults to `"bilinear"`.

    Attributes:
        lost: dict from file to the reason why it could be read no more.

    Example:

    >>> examples = [(lambda: np.zeros((40, 50, 3), "uint8"), i % 2) for i in range(5)]
    >>> batches = keras_memvit.data.ImageBatches(
    ...     examples, image_size=(32, 32), batch_size=4, augment=None, shuffle=False,
    ...     seed=0)
    >>> images, labels = batches[0]
    >>> images.shape, labels.tolist(), len(batches)
    ((4, 32, 32, 3), [0, 1, 0, 1], 2)
    """

    def __init__(
        self,
        examples: Sequence[tuple[Callable[[], np.ndarray], int]],
        image_size: tuple[int, int],
        batch_size: int,
        augment: str | None,
        shuffle: bool,
        seed: int,
        resizing: str = DEFAULT,
    ) -> None:
        check_resizing(resizing)
        super().__init__(workers=2, max_queue_size=4)  # threads read ahead
        self.examples = examples
        self.image_size = image_size
        self.batch_size = batch_size
        self.augment = augment
        self.shuffle = shuffle
        self.seed = seed
        self.resizing = resizing
        self.lost = {}
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

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch; Keras calls it after each pass."""
        self.set_epoch(self.epoch + 1)

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
        labels = keras.tree.map_structure(lambda *y: np.concatenate(y), *labels)
        return np.concatenate(images), labels

    def all_labels(self) -> np.ndarray | dict[str, np.ndarray]:
        """The labels in the examples' order; no image is read."""
        return _stack([label for _, label in self.examples])

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images, labels = zip(*map(self._example, rows))
        return np.stack(images), _stack(labels)

    def _example(self, row):
        """`(image, label)` of a row, or of the next one that can be read."""
        for other in (*range(row, self.num_images), *range(row)):
            read, label = self.examples[other]
            try:
                image = read()
            except UnreadableImage as error:
                self._lose(str(getattr(read, "path", f"image {other}")), error)
            else:
                return self._cropped(image, int(row)), label
        raise ValueError(
            f"None of the {self.num_images} images can be read any more. The last "
            f"reasons: {list(self.lost.items())[-3:]}"
        )

    def _lose(self, file, error):
        if file not in self.lost:
            self.lost[file] = str(error)
            if len(self.lost) <= WARNINGS:
                warnings.warn(
                    f"{printable(file)} can be read no more ({error}); others are "
                    "taken in its place, see `lost`",
                    stacklevel=2,
                )

    def _cropped(self, image, row):
        if self.augment is None:
            return resize(image, self.image_size, self.resizing)
        rng = np.random.default_rng([self.seed, self.epoch, row])
        return CROPS[self.augment](image, self.image_size, rng, self.resizing)


def _stack(labels):
    """Labels of examples as an array `(B,)` or `(B, C)`, or a dict of such."""
    first = labels[0]
    if isinstance(first, dict):
        return {name: _stack([label[name] for label in labels]) for name in first}
    rows = isinstance(first, np.ndarray) and first.ndim > 0
    return np.array(labels, dtype="float32" if rows else "int32")
