"""Every family through our encoder against the untouched original."""

import contextlib
import sys

import keras
import keras_hub
import numpy as np
import pytest
from conftest import randomize
from conftest import snapshot

import keras_memvit
from keras_memvit.backbones.convert import convert
from keras_memvit.backbones.image_statistics import IMAGENET
from keras_memvit.backbones.image_statistics import INCEPTION

SIZE = {"num_layers": 2, "num_heads": 4, "hidden_dim": 32}


def vit(**kwargs):
    config = {"image_shape": (64, 32, 3), "patch_size": 16, "mlp_dim": 64, **SIZE}
    return randomize(keras_hub.models.ViTBackbone(**{**config, **kwargs}))


def deit(**kwargs):
    config = {
        "image_shape": (64, 32, 3),
        "patch_size": 16,
        "intermediate_dim": 64,
        **SIZE,
    }
    return randomize(keras_hub.models.DeiTBackbone(**{**config, **kwargs}))


def dinov2(**kwargs):
    config = {
        "patch_size": 14,
        "intermediate_dim": 64,
        "image_shape": (56, 56, 3),
        "position_embedding_shape": (70, 70),
        **SIZE,
    }
    return randomize(keras_hub.models.DINOV2Backbone(**{**config, **kwargs}))


BACKBONES = {
    "ViT": (vit, INCEPTION),
    "ViT without biases": (
        lambda: vit(use_mha_bias=False, use_mlp_bias=False, use_patch_bias=False),
        INCEPTION,
    ),
    "ViT without class token": (lambda: vit(use_class_token=False), INCEPTION),
    "ViT with other patches": (
        lambda: vit(patch_size=(16, 8), layer_norm_epsilon=1e-3),
        INCEPTION,
    ),
    "DeiT": (deit, IMAGENET),
    "DINOv2": (dinov2, IMAGENET),
    "DINOv2 with registers": (lambda: dinov2(num_register_tokens=4), IMAGENET),
    "DINOv2 with SwiGLU": (lambda: dinov2(use_swiglu_ffn=True), IMAGENET),
    "DINOv2 with both": (
        lambda: dinov2(
            use_swiglu_ffn=True, num_register_tokens=2, use_mask_token=False
        ),
        IMAGENET,
    ),
}


def images_for(model):
    shape = model.inputs[0].shape
    return np.random.default_rng(0).integers(0, 256, (3, *shape[1:]), dtype="uint8")


def original(model, images, statistics):
    """What the untouched model says of images normalised by hand."""
    mean, std = (np.array(s) for s in statistics)
    normalized = ((images / 255.0 - mean) / std).astype("float32")
    if isinstance(model.input, dict):
        normalized = {"images": normalized}
    return model.predict(normalized, verbose=0)


@pytest.mark.parametrize("kind", BACKBONES)
def test_backbone_equals_the_original(kind):
    make, statistics = BACKBONES[kind]
    source = make()
    images = images_for(source)
    expected = original(source, images, statistics)
    tokens = keras_memvit.build(source, {"a": 2}).backbone.predict(images, verbose=0)
    assert tokens.shape == expected.shape
    assert np.abs(tokens - expected).max() < 1e-4


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "DINOv2"])
def test_the_callers_backbone_stays_as_it_was(kind):
    make, statistics = BACKBONES[kind]
    source = make()
    images = images_for(source)
    expected = original(source, images, statistics)
    before = snapshot(source.weights)
    flags = [w.trainable for w in source.weights]
    model = keras_memvit.build(source, {"a": 2})
    model.compile()
    model.fit(images, np.array([0, 1, 0]), verbose=0)
    for path, value in snapshot(source.weights).items():
        np.testing.assert_array_equal(value, before[path])
    assert [w.trainable for w in source.weights] == flags
    np.testing.assert_array_equal(original(source, images, statistics), expected)


@pytest.mark.parametrize(
    "kind, kwargs",
    [
        ("ViT", {}),
        ("ViT", {"pooling": "gap"}),
        ("ViT", {"intermediate_dim": 16}),
        ("DeiT", {}),
        ("DeiT", {"pooling": "gap"}),
    ],
)
def test_classifier_logits_come_back_as_base(kind, kwargs):
    make, statistics = BACKBONES[kind]
    classifier_class = getattr(keras_hub.models, f"{kind}ImageClassifier")
    source = randomize(classifier_class(make(), num_classes=5, **kwargs))
    images = images_for(source)
    model = keras_memvit.build(source, {"a": 2, "b": 3})
    model.compile()
    model.fit(images, {"a": np.array([0, 1, 0])}, verbose=0)
    outputs = model.predict(images, verbose=0)
    assert set(outputs) == {"a", "b", "base"}
    expected = original(source, images, statistics)
    assert np.abs(outputs["base"] - expected).max() < 1e-4


def test_classifier_statistics_come_from_its_preprocessor():
    converter = keras_hub.layers.ViTImageConverter(
        image_size=(64, 32),
        scale=[1 / 51.0, 1 / 102.0, 1 / 25.5],
        offset=[-1.0, 0.5, 0.0],
    )
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(converter)
    source = keras_hub.models.ViTImageClassifier(
        vit(), num_classes=5, preprocessor=preprocessor
    )
    randomize(source)
    images = images_for(source)
    model = keras_memvit.build(source, {"a": 2})
    np.testing.assert_allclose(model.backbone.image_std, [0.2, 0.4, 0.1], rtol=1e-6)
    np.testing.assert_allclose(model.backbone.image_mean, [0.2, -0.2, 0.0], atol=1e-6)
    expected = source.predict(images.astype("float32"), verbose=0)
    np.testing.assert_allclose(
        model.predict(images, verbose=0)["base"], expected, atol=1e-4
    )


def test_caller_statistics_override_the_familys():
    model = keras_memvit.build(
        vit(), {"a": 2}, image_mean=0.25, image_std=[0.1, 0.2, 0.3]
    )
    assert model.backbone.image_mean == [0.25] * 3
    assert model.backbone.image_std == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "DINOv2"])
def test_local_preset_folder(kind, tmp_path):
    source = BACKBONES[kind][0]()
    source.save_to_preset(str(tmp_path / "preset"))
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.2]
    converter_class = getattr(
        keras_hub.layers, {"DINOv2": "DINOV2"}.get(kind, kind) + "ImageConverter"
    )
    converter = converter_class(
        scale=[1 / (255 * s) for s in std], offset=[-m / s for m, s in zip(mean, std)]
    )
    converter.save_to_preset(str(tmp_path / "preset"))
    model = keras_memvit.build(tmp_path / "preset", {"a": 2})
    images = images_for(source)
    loaded = keras_hub.models.Backbone.from_preset(str(tmp_path / "preset"))
    expected = original(loaded, images, (mean, std))
    tokens = model.backbone.predict(images, verbose=0)
    assert np.abs(tokens - expected).max() < 1e-4


def test_preset_folder_of_a_classifier_keeps_base(tmp_path):
    source = randomize(keras_hub.models.ViTImageClassifier(vit(), num_classes=5))
    source.save_to_preset(str(tmp_path / "preset"))
    images = images_for(source)
    outputs = keras_memvit.build(str(tmp_path / "preset"), {"a": 2}).predict(
        images, verbose=0
    )
    np.testing.assert_allclose(
        outputs["base"], original(source, images, INCEPTION), atol=1e-4
    )


def test_half_precision_source_gives_float32_task_variables():
    model = keras_memvit.build(vit(dtype="bfloat16"), {"a": 2})
    assert model.encoder.compute_dtype == "bfloat16"
    assert {v.dtype for v in model.weights} == {"float32"}


def test_unknown_backbones_are_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown kind.*keras_hub.DINOV2Backbone.*Sequential"
    ):
        keras_memvit.build(keras.Sequential(), {"a": 2})
    with pytest.raises(ValueError, match="unknown kind.*VGGBackbone"):
        keras_memvit.build(
            keras_hub.models.VGGBackbone([1], [8], (32, 32, 3)), {"a": 2}
        )


def test_unknown_preset_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match="nothing_here"):
        keras_memvit.build(str(tmp_path / "nothing_here"), {"a": 2})


def test_missing_keras_hub_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match="pip install keras-hub"):
        keras_memvit.build("vit_base_patch32_224_imagenet21k", {"a": 2})


@pytest.mark.parametrize("again", [False, True], ids=["converted", "replicated"])
def test_no_values_are_drawn_for_weights_that_are_copied(again, monkeypatch):
    source = vit()
    if again:
        source = keras_memvit.build(source, {"a": 2}).backbone
        images = keras.ops.ones((1, 64, 32, 3))
        expected = keras.ops.convert_to_numpy(source(images))
    for name in ("GlorotUniform", "RandomNormal"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", no_draw)
    if not again:
        convert(source)
        return
    found = keras.ops.convert_to_numpy(source.replicate()(images))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def no_draw(self, shape, dtype=None):
    raise AssertionError(f"{type(self).__name__} drew values of shape {shape}")


def test_a_seed_gives_a_task_the_same_values_whether_or_not_weights_are_copied(
    monkeypatch,
):
    def values():
        keras.utils.set_random_seed(0)
        model = keras_memvit.build(source, {"a": 2})
        return model.task_layers["a"].arrays()

    source = vit()
    copied = values()
    module = sys.modules["keras_memvit.backbones.convert"]
    monkeypatch.setattr(module, "weights_are_copied", contextlib.nullcontext)
    for name, value in values().items():
        np.testing.assert_array_equal(value, copied[name])
