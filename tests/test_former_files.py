"""Files of the library's former layout load unchanged; see golden/README.md."""

import pathlib

import keras
import numpy as np
import pytest
from processes import BACKENDS

import keras_memvit
from keras_memvit import readouts

GOLDEN = pathlib.Path(__file__).parent / "golden"


# Files of that time have no checksums.
unchecked = pytest.mark.filterwarnings("ignore:.*before task files had checksums")


def answers(writer):
    """The images, and the logits that the former library gave for them."""
    arrays = dict(np.load(GOLDEN / f"{writer}_logits.npz"))
    return arrays.pop("images"), arrays


def load(writer):
    with pytest.warns(UserWarning, match="[Oo]ptimizer"):  # its state is not restored
        return keras.saving.load_model(GOLDEN / f"{writer}.keras")


@pytest.mark.parametrize("writer", BACKENDS)
def test_a_former_model_answers_as_it_did(writer):
    model = load(writer)
    images, expected = answers(writer)
    logits = model.predict(images, verbose=0)
    assert set(logits) == {"plain", "deep", "extension", "base"}
    for name in logits:
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-5)
    plain, deep, extension = model.specs
    assert plain.class_names == ("x", "y", "z")
    assert deep.readout == readouts.Deep(num_query_tokens=2)
    assert not deep.memory_norm
    assert extension.sees == ("plain",)
    assert model.trained_tasks == ["extension"]
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.Adam)
    model.fit(images, {"extension": np.arange(4)}, verbose=0)


@unchecked
@pytest.mark.parametrize("writer", BACKENDS)
def test_former_task_files_answer_as_they_did(writer):
    images, expected = answers(writer)
    backbone = load(writer).backbone
    model = keras_memvit.load_task(backbone, GOLDEN / f"{writer}_plain.safetensors")
    for name in ("deep", "extension"):
        model = keras_memvit.load_task(model, GOLDEN / f"{writer}_{name}.safetensors")
    logits = model.predict(images, verbose=0)
    for name in ("plain", "deep", "extension"):
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-5)


def test_former_task_files_are_taken_with_a_warning():
    path = GOLDEN / "jax_plain.safetensors"
    with pytest.warns(UserWarning, match="jax_plain.*before .* checksums"):
        keras_memvit.load_task(load("jax").backbone, path)


@unchecked
def test_a_former_unmasked_model_and_its_task_answer_as_they_did():
    images, expected = answers("jax")
    model = keras.saving.load_model(GOLDEN / "jax_unmasked.keras")
    assert model.attention == "unmasked"
    for found in (
        model,
        keras_memvit.load_task(model.backbone, GOLDEN / "jax_alone.safetensors"),
    ):
        logits = found.predict(images, verbose=0)
        np.testing.assert_allclose(logits["alone"], expected["alone"], atol=1e-5)
