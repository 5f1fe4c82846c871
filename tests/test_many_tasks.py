"""A thousand tasks on one backbone."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit

NUM_TASKS = 1000


@pytest.fixture(scope="module")
def model():
    backbone = make_backbone()
    tasks = {f"task{k:04d}": 10 for k in range(NUM_TASKS)}
    return keras_memvit.build(backbone, tasks, num_memory_tokens=5)


def test_a_thousand_tasks_answer_as_each_alone(model, images):
    logits = model.predict(images, verbose=0)
    assert len(logits) == NUM_TASKS
    for name in ("task0000", "task0617", "task0999"):
        alone = keras_memvit.select(model, name).predict(images, verbose=0)
        np.testing.assert_allclose(logits[name], alone[name], atol=1e-5)


def test_a_thousand_tasks_save_and_load(model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.specs == model.specs
    expected = model.predict(images, verbose=0)
    logits = loaded.predict(images, verbose=0)
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-6)
