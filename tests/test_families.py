"""DINOv3, CLIP, MetaCLIP 2 and SigLIP through our encoder against the originals."""

import json

import keras
import keras_hub
import numpy as np
import pytest
from conftest import snapshot
from families import FAMILIES
from families import ONE_EACH
from families import dinov3
from families import images_for
from families import metaclip_encoder
from families import original
from families import siglip
from families import siglip_encoder
from families import tower
from hf_checkpoints import dinov3_folder
from hf_checkpoints import metaclip_folder

import keras_memvit
from keras_memvit.backbones.position_embedding import interpolate_position_embedding


def assert_equal_to_original(source, backbone, images, statistics, atol=1e-4):
    model = keras_memvit.build(backbone, {"a": 2})
    tokens, embedding = original(source, images, statistics)
    found = model.backbone.predict(images, verbose=0)
    assert found.shape == tokens.shape
    np.testing.assert_allclose(found, tokens, atol=atol, rtol=0)
    outputs = model.predict(images, verbose=0)
    assert set(outputs) == ({"a"} if embedding is None else {"a", "base"})
    if embedding is not None:
        np.testing.assert_allclose(outputs["base"], embedding, atol=atol, rtol=0)
    return model


@pytest.mark.parametrize("kind", FAMILIES)
def test_tokens_and_embedding_equal_the_originals(kind):
    make, statistics = FAMILIES[kind]
    source = make()
    before = snapshot(source.weights)
    assert_equal_to_original(source, source, images_for(source), statistics)
    for path, value in snapshot(source.weights).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize("kind", ONE_EACH)
def test_bfloat16_is_as_near_as_the_originals_own(kind):
    """To the same model in float32: no more than twice the original's error."""
    make, statistics = FAMILIES[kind]
    source, half = make(), make(dtype="bfloat16")
    half.set_weights(source.get_weights())
    images = images_for(source)
    expected, _ = original(source, images, statistics)
    theirs, _ = original(half, images, statistics)
    model = keras_memvit.build(half, {"a": 2})
    assert model.backbone.tokens_dtype == "bfloat16"
    found = model.backbone.predict(images, verbose=0)

    def error(x):
        return np.abs(np.asarray(x, "float32") - expected).mean()

    assert error(found) < 2 * error(theirs)
    assert model.verify_unchanged(images)["base"] == 0.0


@pytest.mark.parametrize("kind", ONE_EACH)
def test_a_preset_folder_gives_the_same_with_its_own_statistics(kind, tmp_path):
    source = FAMILIES[kind][0]()
    source.save_to_preset(str(tmp_path))
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.2]
    name = {"DINOv3": "DINOV3", "MetaCLIP 2": "MetaCLIP2"}.get(kind, kind)
    converter = getattr(keras_hub.layers, f"{name}ImageConverter")(
        scale=[1 / (255 * s) for s in std], offset=[-m / s for m, s in zip(mean, std)]
    )
    converter.save_to_preset(str(tmp_path))
    images = images_for(source)
    assert_equal_to_original(source, tmp_path, images, (mean, std))


@pytest.mark.parametrize("kind", FAMILIES)
def test_as_many_parameters_as_the_original(kind):
    source = FAMILIES[kind][0]()
    encoder = tower(source)
    expected = encoder.count_params()
    for name in ("vision_projection", "vision_post_layer_norm"):
        if hasattr(source, name):
            expected += getattr(source, name).count_params()
    embedding = getattr(encoder, "embedding", None) or encoder.embeddings
    for weight in embedding.weights:  # the places of CLIP, the mask of DINOv3
        if weight.name in ("position_ids", "mask_token"):
            expected -= int(np.prod(weight.shape))
    model = keras_memvit.build(source, {"a": 2})
    found = model.backbone.count_params()
    if model.classifier is not None:
        found += model.classifier.count_params()
    assert found == expected


@pytest.mark.parametrize("shape", [(32, 80, 3), (80, 64, 3), (16, 16, 3)])
def test_dinov3_takes_any_size_as_the_original_does(shape):
    """Nothing is interpolated: the original made for that size gives the same."""
    source, other = dinov3(), dinov3(image_shape=shape)
    other.set_weights(source.get_weights())
    model = keras_memvit.build(source, {"a": 2}, image_shape=shape)
    images = images_for(other)
    expected, _ = original(other, images, FAMILIES["DINOv3"][1])
    tokens = model.backbone.predict(images, verbose=0)
    np.testing.assert_allclose(tokens, expected, atol=1e-4)
    again = model.backbone.replicate(image_shape=source.image_shape)
    assert again.fingerprint() == keras_memvit.build(source, {"a": 2}).older_backbone


@pytest.mark.parametrize("kind", ["CLIP gelu", "MetaCLIP 2 encoder", "SigLIP encoder"])
def test_other_sizes_interpolate_the_table(kind):
    make, statistics = FAMILIES[kind]
    source, other = make(), make(image_shape=(80, 80, 3))
    for target, weight in zip(other.weights, source.weights):
        if target.shape == weight.shape:
            target.assign(weight)
    table = source.embedding.position_embedding.embeddings
    table = interpolate_position_embedding(table, (3, 3), (5, 5))
    other.embedding.position_embedding.embeddings.assign(table)
    model = keras_memvit.build(source, {"a": 2}, image_shape=(80, 80, 3))
    images = images_for(other)
    expected, _ = original(other, images, statistics)
    tokens = model.backbone.predict(images, verbose=0)
    np.testing.assert_allclose(tokens, expected, atol=1e-4)


def test_a_size_that_fills_no_whole_patches_is_the_pretrained_one_alone():
    source = FAMILIES["SigLIP cropped"][0]()
    for shape in (None, (46, 46, 3), [46, 46]):
        model = keras_memvit.build(source, {"a": 2}, image_shape=shape)
        assert model.backbone.image_shape == (46, 46, 3)
    with pytest.raises(ValueError, match="multiple of the patch size 14"):
        keras_memvit.build(source, {"a": 2}, image_shape=(47, 47, 3))
    assert keras_memvit.build(source, {"a": 2}, image_shape=(28, 42)).backbone


def test_a_siglips_class_token_starts_from_its_probe():
    source = siglip()
    model = keras_memvit.build(source, {"a": 2})
    more = keras_memvit.extend(model, {"b": 2})
    probe = keras.ops.convert_to_numpy(source.vision_encoder.head.probe)[0, 0]
    for task in more.task_layers.values():
        found = keras.ops.convert_to_numpy(task.class_token)
        np.testing.assert_array_equal(found, probe)
    assert not model.classifier.trainable_variables


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: siglip_encoder(layer_norm_epsilon=1e-3), "layer_norm_epsilon=0.001"),
        (
            lambda: metaclip_encoder(intermediate_activation="tanh"),
            "'gelu', 'gelu_approximate', 'quick_gelu', 'relu'.*tanh",
        ),
        (lambda: dinov3(num_heads=16), "`rotary_theta` needs heads.*multiple of 4"),
    ],
)
def test_what_cannot_be_converted_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        keras_memvit.build(make(), {"a": 2})


@pytest.mark.parametrize("kind", ["DINOv3", "DINOv3 gated", "MetaCLIP 2"])
def test_a_hugging_face_folder_gives_the_same(kind, tmp_path):
    make = FAMILIES[kind][0]
    if kind == "MetaCLIP 2":
        source, lay_down = make(), metaclip_folder
    else:
        source, lay_down = make(image_shape=(48, 48, 3)), dinov3_folder
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.2]
    lay_down(source, tmp_path, mean, std)
    assert_equal_to_original(source, tmp_path, images_for(source), (mean, std))


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model_type": "clip"}, "KerasHub preset, such as 'clip_vit_base_patch32'"),
        ({"model_type": "siglip"}, "'siglip_base_patch16_224' or 'siglip2_base"),
        ({"model_type": "siglip2"}, "fixed resolution.*'siglip2_base.*not NaFlex"),
        (
            {"architecture": "vit_small_patch16_dinov3", "num_classes": 0},
            "transformers checkpoint of ViT, DeiT, DINOv2, DINOv3.*timm",
        ),
    ],
)
def test_what_keras_hub_does_not_read_is_refused_with_the_way(
    config, message, tmp_path
):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        keras_memvit.build(tmp_path, {"a": 2})
