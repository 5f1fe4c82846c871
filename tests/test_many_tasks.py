"""Hundreds of tasks on one backbone (`benchmarks/many_tasks.py` builds a thousand)."""

import keras
import numpy as np
from conftest import make_backbone

import keras_memvit

NUM_TASKS = 200


def test_many_tasks_build_predict_save_and_load(images, tmp_path):
    tasks = {f"task{k:04d}": 10 for k in range(NUM_TASKS)}
    backbone = make_backbone(num_layers=1)
    model = keras_memvit.build(backbone, tasks, num_memory_tokens=5)
    logits = model.predict(images, verbose=0)
    assert len(logits) == NUM_TASKS
    for name in ("task0000", "task0199"):
        alone = keras_memvit.select(model, name).predict(images, verbose=0)
        np.testing.assert_allclose(logits[name], alone[name], atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.specs == model.specs
    again = loaded.predict(images, verbose=0)
    for name in logits:
        np.testing.assert_allclose(again[name], logits[name], atol=1e-6)
