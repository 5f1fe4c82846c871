"""Other image sizes: position embeddings, odd and oblong grids, bad sizes."""

import keras
import keras_hub
import numpy as np
import pytest
from conftest import make_backbone
from test_converters import dinov2

import keras_memvit
from keras_memvit.backbones.position_embedding import interpolate_position_embedding


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("new", [(7, 7), (5, 9), (1, 3), (16, 8)])
def test_interpolation_equals_keras(new, antialias):
    if keras.backend.backend() == "torch" and not antialias:
        pytest.skip("torch's kernel has a = -0.75 when it does not antialias")
    tabulated = keras.backend.backend() == "tensorflow" and not antialias
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(1 + 6 * 8, 4)).astype("float32")
    expected = keras.ops.image.resize(
        positions[1:].reshape(1, 6, 8, 4),
        new,
        interpolation="bicubic",
        antialias=antialias,
        data_format="channels_last",
    )
    resized = interpolate_position_embedding(positions, (6, 8), new, antialias)
    np.testing.assert_array_equal(resized[0], positions[0])
    np.testing.assert_allclose(
        resized[1:].reshape(1, *new, 4),
        keras.ops.convert_to_numpy(expected),
        atol=5e-3 if tabulated else 1e-5,
    )


def test_interpolation_keeps_a_constant_and_the_same_grid():
    constant = np.full((1 + 12, 3), 2.5, "float32")
    np.testing.assert_allclose(
        interpolate_position_embedding(constant, (3, 4), (5, 2)), 2.5, rtol=1e-6
    )
    table = np.random.default_rng(0).normal(size=(13, 3)).astype("float32")
    np.testing.assert_array_equal(
        interpolate_position_embedding(table, (3, 4), (3, 4)), table
    )


@pytest.mark.parametrize("shape", [(16, 16, 3), (80, 16, 3), (48, 112, 3)])
def test_odd_and_oblong_sizes_train_and_keep_their_table(shape, tmp_path):
    backbone = make_backbone("registers")
    model = keras_memvit.build(backbone, {"a": 2}, image_shape=shape)
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
    model.compile()
    model.fit(images, np.arange(4) % 2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0)["a"], model.predict(images, verbose=0)["a"]
    )
    assert tuple(backbone.image_shape) == (32, 48, 3)  # the caller's stays


def test_dinov2_takes_positions_from_the_pretrained_table():
    """Not from a table that was resized already."""
    source = dinov2()  # built for 56 px from a table for 70 px
    model = keras_memvit.build(source, {"a": 2}, image_shape=(70, 70, 3))
    table = keras.ops.convert_to_numpy(source.embeddings.position_embeddings)[0]
    positions = model.backbone.patch_embedding.position_embedding
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(positions), table)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((100, 48, 3), "height.*multiple of the patch size 16, such as 96 or 112.*100"),
        ((32, 50, 3), "width.*such as 48 or 64"),
        ((8, 48, 3), "height.*such as 16"),
        ((32, 48, 1), r"must be \(height, width, 3\)"),
        (224, r"must be \(height, width, 3\).*224"),
        ((-16, 48, 3), "height.*such as 16"),
    ],
)
@pytest.mark.parametrize("kind", ["ours", "dinov2"])
def test_bad_sizes_say_which_would_do(shape, message, kind):
    if kind == "dinov2":
        message = message.replace("16, such as 96 or 112", "14, such as 98 or 112")
        source = dinov2()
        if "such as" in message and "98" not in message:
            message = "multiple of the patch size 14"
    else:
        source = make_backbone()
    with pytest.raises(ValueError, match=message):
        keras_memvit.build(source, {"a": 2}, image_shape=shape)


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (1, 64, 96, 3), (1, 32, 48, 1)])
def test_images_of_another_size_are_refused(backbone, images, shape):
    model = keras_memvit.build(backbone, {"a": 2})
    before = model.predict(images, verbose=0)["a"]
    with pytest.raises(ValueError, match="32, 48, 3|height, width, 3"):
        model.predict(np.zeros(shape, "uint8"), verbose=0)
    np.testing.assert_array_equal(model.predict(images, verbose=0)["a"], before)


def test_dinov2_equals_keras_hub_at_a_size_that_both_interpolate():
    source = dinov2(image_shape=(70, 70, 3), antialias_in_interpolation=True)
    config = {**source.get_config(), "image_shape": (42, 42, 3)}
    resized = keras_hub.models.DINOV2Backbone.from_config(config)
    for target, weight in zip(resized.weights, source.weights):
        if "interpolated" not in weight.path:
            target.assign(weight)
    embeddings = resized.embeddings
    embeddings.interpolated_position_embeddings.assign(
        embeddings._interpolate_position_embeddings(
            source.embeddings.position_embeddings, 14, (70, 70), (42, 42), True
        )
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 42, 42, 3), dtype="uint8")
    model = keras_memvit.build(source, {"a": 2}, image_shape=(42, 42, 3))
    mean, std = np.array(model.backbone.image_mean), np.array(model.backbone.image_std)
    normalized = ((images / 255.0 - mean) / std).astype("float32")
    expected = resized.predict({"images": normalized}, verbose=0)
    tokens = model.backbone.predict(images, verbose=0)
    assert np.abs(tokens - expected).max() < 1e-4
