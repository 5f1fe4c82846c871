"""How many batches a data set gives an epoch."""

import keras
import numpy as np
import pytest

from keras_memvit.training.data_length import num_batches


class TenBatches(keras.utils.PyDataset):
    def __len__(self):
        return 10


class Cardinality:
    def __init__(self, count):
        self.count = count

    def cardinality(self):
        return self.count


ARRAY = np.zeros((33, 2))


@pytest.mark.parametrize(
    "data, expected",
    [
        (ARRAY, 9),
        ((ARRAY, ARRAY), 9),
        ({"a": ARRAY}, 9),
        (TenBatches(), 10),
        (Cardinality(7), 7),
        (Cardinality(-2), None),
        (Cardinality(0), None),
        (range(5), 5),
        (iter([1]), None),
    ],
)
def test_data_of_every_kind(data, expected):
    assert num_batches(data, batch_size=4) == expected


def test_what_is_held_out_is_not_counted():
    assert num_batches(ARRAY, batch_size=4, validation_split=0.5) == 4
