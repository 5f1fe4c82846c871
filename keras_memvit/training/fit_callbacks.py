"""Callbacks that every `MemoryViT.fit` runs."""

import keras


class LabelCheck(keras.callbacks.Callback):
    """Stops training at labels out of range, which no backend's graph can."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:  # early, where it costs one synchronisation an epoch
            self.model.raise_label_errors()
            self.model.warn_of_scaled_images()

    def on_epoch_end(self, epoch, logs=None):
        self.model.raise_label_errors()


class EpochOfData(keras.callbacks.Callback):
    """Tells a data set the epoch, also where training goes on after a kill."""

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.set_epoch(epoch)


class LogsOfEpoch(keras.callbacks.Callback):
    """Keeps an epoch's logs for `TaskEarlyStopping`, before any callback saves."""

    def on_train_begin(self, logs=None):
        self.model.optimizer.stopping.running = {}  # an error may have left some

    def on_epoch_end(self, epoch, logs=None):
        state = self.model.optimizer.stopping
        state.logs = epoch, logs or {}  # the dict, to which callbacks may add
        state.forget_others(epoch)
