"""A data set of one task as one of many tasks that learn from the same labels."""

import keras

from keras_memvit.data.sources import as_source


class LabelledForAll(keras.utils.PyDataset):
    """Batches of a data set whose labels, and weights, go to every task.

    Args:
        data: a `PyDataset`, `tf.data.Dataset` or other iterable over batches
            `(x, y)` or `(x, y, sample_weight)`, labels and weights an array
            or a dict of one.
        names: task names.
        batch_size, seed: ints, where `data` is arrays `(x, y)` instead.
    """

    def __init__(self, data, names, batch_size=None, seed=0):
        indexed = isinstance(data, keras.utils.PyDataset)  # others come in turn
        super().__init__(workers=data.workers if indexed else 1)
        self.source = as_source("train", data, batch_size, seed)
        if not self.source.length:
            raise ValueError(
                "`train` and `validation` must say how many batches they hold. "
                f"Received: {type(data).__name__} of unknown length"
            )
        self.names = names
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Goes to a pass over the data set."""
        self.epoch = epoch

    def __len__(self):
        return self.source.length

    def __getitem__(self, index):
        batch = self.source.batch(self.epoch * len(self) + index)
        batch = tuple(batch) if isinstance(batch, list) else batch
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        labels = dict.fromkeys(self.names, self._only(y))
        if weights is None:
            return x, labels
        return x, labels, dict.fromkeys(self.names, self._only(weights))

    def _only(self, labels):
        """Labels or weights themselves, or the only ones of a dict."""
        if not isinstance(labels, dict):
            return labels
        if len(labels) != 1:
            raise ValueError(
                "`train` and `validation` must have the labels of one task. "
                f"Received those of {sorted(labels)}"
            )
        return next(iter(labels.values()))
