"""KerasCV's ViT: converted on TensorFlow, where alone it runs, loaded anywhere."""

import keras
import numpy as np
import pytest
from processes import run_python

VARIANTS = [
    f"ViT{size}{patch}" for size in ("Tiny", "S", "B", "L", "H") for patch in (16, 32)
]

# Two of each variant's layers, at full width: the depth only repeats them.
MAKE = """
import sys
import keras
import numpy as np
import pytest
from conftest import randomize
from keras_cv.src.models.legacy import vit
import keras_memvit

def make(name, **kwargs):
    for config in vit.MODEL_CONFIGS.values():
        config["transformer_layer_num"] = 2
    kwargs = {"include_rescaling": True, "include_top": False, **kwargs}
    return randomize(getattr(vit, name)(input_shape=(64, 64, 3), **kwargs))

def original(source, images):  # `predict` fails: it makes dropout layers as it runs
    return source(images, training=False).numpy()

images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype="uint8")
"""

PARITY = (
    MAKE
    + """
for name in sys.argv[1:]:
    source = make(name)
    expected = original(source, images)
    model = keras_memvit.build(source, {"a": 2})
    tokens = model.backbone.predict(images, verbose=0)
    assert tokens.shape == expected.shape, (name, tokens.shape, expected.shape)
    assert model.backbone.patch_size[0] == int(name[-2:])
    difference = float(np.abs(tokens - expected).max())
    assert difference < 1e-4, (name, difference)
    print(name, difference)
"""
)

CONVERT = (
    MAKE
    + """
source = make("ViTTiny16", include_top=True, num_classes=5, classifier_activation=None)
model = keras_memvit.build(source, {"a": 2})
model.save(sys.argv[1])
expected = original(source, images)
base = model.predict(images, verbose=0)["base"]
np.testing.assert_allclose(base, expected, atol=1e-4)
np.savez(sys.argv[2], images=images, base=expected)
"""
)

OTHER_INPUTS = (
    MAKE
    + """
# Rescaling left to the caller, another activation, pooled output.
source = make("ViTTiny32", include_rescaling=False, pooling="token_pooling",
              activation=keras.activations.relu)
expected = original(source, images / 255.0)
tokens = keras_memvit.build(source, {"a": 2}).backbone.predict(images, verbose=0)
assert np.abs(tokens[:, 0] - expected).max() < 1e-4
try:
    keras_memvit.build(make("ViTTiny32", activation=keras.activations.silu), {"a": 2})
except ValueError as error:
    print(error)
"""
)


on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="KerasCV runs on TensorFlow alone; its models are loaded here below",
)


@on_tensorflow
def test_all_ten_variants_equal_the_original():
    printed = run_python(PARITY, "tensorflow", *VARIANTS)
    assert len(printed.strip().splitlines()) == len(VARIANTS)


def test_a_classifier_converted_on_tensorflow_loads_here(tmp_path):
    path, data = tmp_path / "model.keras", tmp_path / "data.npz"
    run_python(CONVERT, "tensorflow", path, data)
    data = np.load(data)
    model = keras.saving.load_model(path)
    base = model.predict(data["images"], verbose=0)["base"]
    assert np.abs(base - data["base"]).max() < 1e-4


@on_tensorflow
def test_unscaled_inputs_and_activations():
    assert "activation=" in run_python(OTHER_INPUTS, "tensorflow")
