"""`recipes.sweep` on data sets, and which of equals it calls the best."""

import numpy as np
import pytest
from conftest import make_backbone

from keras_memvit.data import load
from keras_memvit.recipes import sweep
from keras_memvit.recipes.sweep import _best

OPTIONS = {"learning_rates": (0.1, 0.3), "num_memory_tokens": (1,), "epochs": 2}


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    images = rng.integers(0, 128, (20, 40, 56, 3)) * (1 + labels)[:, None, None, None]
    return load((images.astype("uint8"), labels), image_size=(32, 48), batch_size=8)


def as_tf_data(data):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data.arrays()).batch(64)


@pytest.mark.parametrize("kind", ["loaded", "tf.data"])
def test_a_data_set_is_swept_as_its_arrays_are(kind, found):
    for part in (found.train, found.validation):  # one batch has no order
        part.augment, part.batch_size = None, 64
    backbone = make_backbone(num_layers=1)
    convert = as_tf_data if kind == "tf.data" else lambda data: data
    given = convert(found.train), convert(found.validation)
    arrays = found.train.arrays(), found.validation.arrays()
    losses = [
        {row["learning_rate"]: row["val_loss"] for row in result.table}
        for result in (
            sweep(backbone, {"bright": 2}, *given, **OPTIONS),
            sweep(backbone, {"bright": 2}, *arrays, batch_size=64, **OPTIONS),
        )
    ]
    for rate in OPTIONS["learning_rates"]:
        np.testing.assert_allclose(losses[0][rate], losses[1][rate], rtol=1e-4)


def test_labels_of_two_tasks_are_refused(found):
    from keras_memvit.data import mix

    both = mix({"a": found.train, "b": found.train})
    both.same_structure = True
    with pytest.raises(ValueError, match=r"one task. Received those of \['a', 'b'\]"):
        sweep(make_backbone(num_layers=1), {"a": 2}, both, found.validation, **OPTIONS)


def test_equal_accuracies_are_ordered_by_loss():
    rows = {
        f"{rate}/{seed}": {
            "learning_rate": rate,
            "num_memory_tokens": 1,
            "val_accuracy": accuracy,
            "val_loss": loss,
            "diverged": None,
        }
        for rate, seed, accuracy, loss in [
            (0.1, 0, 0.7, 3.0),
            (0.1, 1, 0.8, 2.0),
            (0.3, 0, 0.8, 1.0),
            (0.3, 1, 0.7, 0.5),
        ]
    }
    best, winner = _best(rows)
    assert (best["learning_rate"], winner) == (0.3, "0.3/0")
