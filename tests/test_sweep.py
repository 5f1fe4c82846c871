"""`recipes.sweep`: candidates side by side end where each alone does."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.recipes import adamw_optimizer
from keras_memvit.recipes import paper_optimizer
from keras_memvit.recipes import sweep


@pytest.fixture
def data():
    """Bright and dark images."""
    rng = np.random.default_rng(0)
    labels = np.arange(16) % 2
    images = rng.integers(0, 128, (16, 32, 48, 3)) * (1 + labels)[:, None, None, None]
    return images.astype("uint8"), labels


@pytest.mark.parametrize("source", ["images", "store"])
def test_candidates_equal_training_alone(source, data, tmp_path):
    backbone = make_backbone(num_layers=1)
    given = data
    if source == "store":
        given = keras_memvit.precompute(
            backbone, data, tmp_path, dtype="float32", verbose=0
        )
    keras.utils.set_random_seed(0)
    result = sweep(
        backbone,
        {"bright": 2},
        given,
        given,
        learning_rates=(0.001, 0.3),
        num_memory_tokens=(1, 3),
        seeds=(0, 1),
        epochs=4,
        batch_size=16,
    )
    assert len(result.table) == 8
    assert len(str(result).splitlines()) == 9
    accuracies = [row["val_accuracy"] for row in result.table]
    assert accuracies == sorted(accuracies, reverse=True)
    assert result.best["learning_rate"] == 0.3
    (row,) = [
        row
        for row in result.table
        if row["learning_rate"] == 0.3
        and row["num_memory_tokens"] == 3
        and row["seed"] == 1
    ]
    alone = keras_memvit.build(backbone, {"bright": 2}, num_memory_tokens=3)
    alone.task_layers["bright"].start(1)
    alone.compile(paper_optimizer(0.3))
    alone.fit(*data, epochs=4, batch_size=16, verbose=0)
    expected = alone.evaluate(*data, return_dict=True, verbose=0)
    np.testing.assert_allclose(row["val_loss"], expected["loss"], rtol=1e-4)
    result.model.compile()
    best = result.model.evaluate(*data, return_dict=True, verbose=0)
    seeds = [
        r["val_loss"]
        for r in result.table
        if r["learning_rate"] == 0.3
        and r["num_memory_tokens"] == result.best["num_memory_tokens"]
    ]
    assert min(abs(best["loss"] - loss) for loss in seeds) < 1e-4


def test_a_deep_readout_is_swept_with_adamw(data):
    backbone = make_backbone(num_layers=1)
    spec = keras_memvit.TaskSpec("bright", 2, 1, readout="deep")
    options = {"epochs": 4, "batch_size": 16}
    result = sweep(
        backbone,
        spec,
        data,
        data,
        learning_rates=(0.001, 0.01),
        num_memory_tokens=(1,),
        optimizer=adamw_optimizer,
        **options,
    )
    alone = keras_memvit.build(backbone, spec)
    alone.task_layers["bright"].start(0)
    alone.compile(adamw_optimizer(0.01))
    alone.fit(*data, verbose=0, **options)
    expected = alone.evaluate(*data, return_dict=True, verbose=0)
    (row,) = [row for row in result.table if row["learning_rate"] == 0.01]
    np.testing.assert_allclose(row["val_loss"], expected["loss"], rtol=1e-4)


def test_one_task_and_something_to_try(data):
    with pytest.raises(ValueError, match=r"takes one task.*\['a', 'b'\]"):
        sweep(make_backbone(num_layers=1), {"a": 2, "b": 2}, data, data)
    with pytest.raises(ValueError, match="0 combinations"):
        sweep(make_backbone(num_layers=1), {"a": 2}, data, data, seeds=())
