"""Data sets know the epoch: in `mix`, in a plain Keras `fit`, in a resumed one."""

import keras
import numpy as np
import pytest
from conftest import start_tasks

from keras_memvit.data import load
from keras_memvit.data import mix


def pictures(size=12, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 40, 56, 3), dtype="uint8")
    return load((images, np.arange(size) % 2), image_size=(32, 48), batch_size=4).train


def all_images(data):
    return np.concatenate([np.asarray(data[i][0]) for i in range(len(data))])


def expected(epoch):
    train = pictures()
    train.set_epoch(epoch)
    return all_images(train)


def test_a_mixture_tells_its_data_sets_the_epoch():
    mixture = mix({"a": pictures()})
    for epoch in (0, 1, 2, 1):  # back, as after a kill
        mixture.set_epoch(epoch)
        np.testing.assert_array_equal(all_images(mixture), expected(epoch))
    assert not np.array_equal(expected(0), expected(1))


def test_a_small_data_set_goes_through_several_passes_an_epoch():
    mixture = mix({"a": pictures()}, num_batches=6, weights="balanced")
    mixture.set_epoch(1)  # passes 2 and 3 of 3 batches each
    order = [*range(5, -1, -1)]  # in any order: threads read ahead
    batches = dict(zip(order, (np.asarray(mixture[i][0]) for i in order)))
    images = np.concatenate([batches[i] for i in range(6)])
    np.testing.assert_array_equal(images, np.concatenate([expected(2), expected(3)]))


class Rolling(keras.utils.PyDataset):
    """A user's data set that goes on by Keras' own means."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        images = np.full((1, 32, 48, 3), 10 * self.number + index, "uint8")
        return images, np.zeros(1, "int32")

    def on_epoch_end(self):
        self.number += 1


def test_a_data_set_of_keras_is_told_that_a_pass_ended():
    mixture = mix({"a": Rolling()})
    seen = []
    for epoch in (0, 1, 3):
        mixture.set_epoch(epoch)
        seen.append(all_images(mixture)[:, 0, 0, 0].tolist())
    assert seen == [[0, 1], [10, 11], [30, 31]]


class Sampler:
    def __init__(self):
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


class Loader:
    """As a torch `DataLoader` with a distributed sampler."""

    def __init__(self):
        self.sampler = Sampler()

    def __len__(self):
        return 2

    def __iter__(self):
        batch = np.zeros((1, 32, 48, 3), "uint8"), np.zeros(1, "int32")
        return iter([batch, batch])


def test_a_sampler_is_told_the_pass():
    loader = Loader()
    mixture = mix({"a": loader})
    for epoch in range(3):
        mixture.set_epoch(epoch)
        all_images(mixture)
    assert loader.sampler.epochs == [0, 0, 1, 2]  # one look at the first batch


class Seen(keras.utils.PyDataset):
    """A data set that notes what is read of another, by epoch."""

    def __init__(self, data):
        super().__init__()
        self.data, self.read = data, {}

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        images, labels = self.data[index]
        self.read.setdefault(self.data.epoch, {})[index] = images
        return images, labels

    def on_epoch_end(self):
        self.data.on_epoch_end()


def classifier(by_task):
    inputs = keras.Input((32, 48, 3))
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, {"a": logits} if by_task else logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss={"a": loss} if by_task else loss)
    return model


@pytest.mark.parametrize("mixed", [False, True])
def test_a_plain_keras_fit_sees_a_new_order_each_epoch(mixed):
    data = Seen(mix({"a": pictures()}) if mixed else pictures())
    classifier(by_task=mixed).fit(data, epochs=3, verbose=0)
    whole = [epoch for epoch, read in data.read.items() if len(read) == len(data)]
    assert len(whole) == 3
    for epoch in whole:
        read = data.read[epoch]
        images = np.concatenate([np.asarray(read[i]) for i in range(len(data))])
        np.testing.assert_array_equal(images, expected(epoch))


def test_our_fit_decides_the_epoch_also_where_it_goes_on():
    train = pictures()
    epochs = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: epochs.append(train.epoch)
    )
    model = start_tasks({"a": 2})
    model.fit(train, epochs=2, callbacks=[record], verbose=0)
    model.fit(train, epochs=4, initial_epoch=2, callbacks=[record], verbose=0)
    assert epochs == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
