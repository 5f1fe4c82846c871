"""How long the epochs of a `fit` take."""

import time


def epoch_clock():
    """A callback: seconds to the end of the first step, and of each epoch.

    It has the attributes `first`, a float, and `epochs`, a list, of its last `fit`.
    """
    import keras  # of the child's backend

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.start, self.first, self.epochs = time.perf_counter(), None, []

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            if self.first is None:
                self.first = time.perf_counter() - self.start

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(time.perf_counter() - self.epoch)

    return Clock()
