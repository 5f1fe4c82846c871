"""`data.mix`: several tasks' data sets in one `fit`."""

import keras
import numpy as np
import pytest
from conftest import start_tasks

import keras_memvit

TASKS = {"a": 3, "b": 2}


def datasets():
    rng = np.random.default_rng(0)
    sizes = {"a": 20, "b": 7}
    return {
        name: (
            rng.integers(0, 256, (size, 32, 48, 3), dtype="uint8"),
            (np.arange(size) % TASKS[name]).astype("uint8"),
        )
        for name, size in sizes.items()
    }


def counts(mixture):
    """Batches of each task in an epoch, by the labels that they carry."""
    found = {"a": 0, "b": 0}
    for i in range(len(mixture)):
        labels = mixture[i][1]
        for name in found:
            found[name] += name in labels and bool(np.any(labels[name] >= 0))
    return found


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({}, {"a": 5, "b": 2}),
        ({"weights": "balanced"}, {"a": 5, "b": 5}),
        ({"weights": {"a": 1, "b": 3}, "num_batches": 8}, {"a": 2, "b": 6}),
        ({"weights": {"a": 1, "b": 1}}, {"a": 4, "b": 3}),
    ],
)
def test_mixing_gives_each_task_its_share(arguments, expected):
    assert counts(keras_memvit.data.mix(datasets(), batch_size=4, **arguments)) == (
        expected
    )


def test_mixing_is_a_function_of_seed_and_epoch():
    def epoch(seed, number):
        mixture = keras_memvit.data.mix(datasets(), batch_size=4, seed=seed)
        mixture.set_epoch(number)
        return [np.asarray(mixture[i][0]).sum() for i in range(len(mixture))]

    assert epoch(0, 0) == epoch(0, 0)
    assert epoch(0, 0) != epoch(0, 1)
    assert epoch(0, 0) != epoch(1, 0)
    total = sum(int(images.astype(int).sum()) for images, _ in datasets().values())
    assert sum(map(int, epoch(0, 0))) == total  # every example once


def as_tf_data(arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(4)


def as_torch_loader(arrays):
    import torch

    tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays))
    return torch.utils.data.DataLoader(tensors, batch_size=4)


def as_weighted(arrays):
    return (*arrays, np.full(len(arrays[0]), 0.5, "float32"))


@pytest.mark.parametrize("convert", [as_tf_data, as_torch_loader, as_weighted])
def test_every_kind_of_data_set_mixes_and_trains(convert):
    given = datasets()
    given["b"] = convert(given["b"])
    mixture = keras_memvit.data.mix(given, batch_size=4)
    assert counts(mixture) == {"a": 5, "b": 2}
    model = start_tasks(TASKS)
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(list(mixture.order))
    )
    history = model.fit(mixture, epochs=2, callbacks=[record], verbose=0).history
    assert {"a_accuracy", "b_accuracy", "a_loss", "b_loss"} <= set(history)
    assert np.all(np.isfinite(history["loss"]))
    schedule = model.optimizer.inner_optimizer._learning_rate
    assert schedule.total_steps == 2 * len(mixture)
    steps = {k: int(o.iterations) for k, o in model.optimizer.inner.items()}
    assert steps == {"a": 10, "b": 4}
    result = model.evaluate(mixture, return_dict=True, verbose=0)
    x, y = datasets()["a"]
    alone = model.evaluate(x, {"a": y}, return_dict=True, verbose=0)
    np.testing.assert_allclose(result["a_accuracy"], alone["a_accuracy"], rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"datasets": {}}, "`datasets` must be a dict by task name"),
        ({"weights": "even"}, "`weights` must be 'proportional', 'balanced' or"),
        ({"weights": {"a": 1}}, r"`weights` must be.*\['a', 'b'\]"),
        ({"weights": {"a": 1, "b": 0}}, "`weights` must be positive"),
        ({"datasets": {"a": (np.zeros(3), np.zeros(4))}}, r"'a'.*lengths \[3, 4\]"),
        ({"datasets": {"a": (i for i in range(3))}}, "'a'.*more than once.*generator"),
        ({"datasets": {"a": [np.zeros(3)]}}, "'a'.*1 arrays"),
    ],
)
def test_what_cannot_be_mixed_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_memvit.data.mix(**{"datasets": datasets(), **arguments})
