"""From whatever the caller has to a `ViTBackbone` and its classifier."""

import gc
import os
import typing

import keras

from keras_memvit.backbones import image_statistics
from keras_memvit.backbones import preset_resizing
from keras_memvit.backbones.compact import check_quantization
from keras_memvit.backbones.compact import compact
from keras_memvit.backbones.compact import is_half
from keras_memvit.backbones.image_shape import check_image_shape
from keras_memvit.backbones.keras_cv_vit import convert_keras_cv_classifier
from keras_memvit.backbones.keras_cv_vit import convert_keras_cv_vit
from keras_memvit.backbones.keras_hub_clip import convert_clip
from keras_memvit.backbones.keras_hub_clip import convert_clip_projection
from keras_memvit.backbones.keras_hub_deit import convert_deit
from keras_memvit.backbones.keras_hub_dinov2 import convert_dinov2
from keras_memvit.backbones.keras_hub_dinov3 import convert_dinov3
from keras_memvit.backbones.keras_hub_siglip import convert_siglip
from keras_memvit.backbones.keras_hub_siglip import convert_siglip_head
from keras_memvit.backbones.keras_hub_vit import convert_vit
from keras_memvit.backbones.presets import load_preset
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_dense
from keras_memvit.layers import BaseClassifier
from keras_memvit.layers.drawn import weights_are_copied
from keras_memvit.layers.dtypes import float32_variables


class Family(typing.NamedTuple):
    """How one class of backbones is converted.

    Attributes:
        convert: `(source, **kwargs)` to a `ViTBackbone`.
        statistics: mean and deviation of images, where nothing else says them.
        classifier: `(source, **kwargs)` to a `BaseClassifier` or None.
    """

    convert: typing.Callable
    statistics: tuple
    classifier: typing.Callable = lambda source, **kwargs: None


# By library and class.
_FAMILIES = {
    ("keras_hub", "ViTBackbone"): Family(convert_vit, image_statistics.INCEPTION),
    ("keras_hub", "DeiTBackbone"): Family(convert_deit, image_statistics.IMAGENET),
    ("keras_hub", "DINOV2Backbone"): Family(convert_dinov2, image_statistics.IMAGENET),
    ("keras_hub", "DINOV3Backbone"): Family(convert_dinov3, image_statistics.IMAGENET),
    **{
        ("keras_hub", name): Family(
            convert_clip, image_statistics.CLIP, convert_clip_projection
        )
        for name in (
            "CLIPBackbone",
            "CLIPVisionEncoder",
            "MetaCLIP2Backbone",
            "MetaCLIP2VisionEncoder",
        )
    },
    **{
        ("keras_hub", name): Family(
            convert_siglip, image_statistics.INCEPTION, convert_siglip_head
        )
        for name in ("SigLIPBackbone", "SigLIPVisionEncoder")
    },
    ("keras_cv", "ViT"): Family(
        convert_keras_cv_vit, image_statistics.INCEPTION, convert_keras_cv_classifier
    ),
}
# Image classifiers around a backbone.
_CLASSIFIERS = {
    ("keras_hub", "ViTImageClassifier"),
    ("keras_hub", "DeiTImageClassifier"),
}

KNOWN_BACKBONES = [
    *(f"{library}.{name}" for library, name in [*_FAMILIES, *sorted(_CLASSIFIERS)]),
    "keras_memvit.ViTBackbone",
    "a preset name, a local preset folder or an hf:// handle that KerasHub resolves",
]


def convert(
    source,
    *,
    image_shape=None,
    image_mean=None,
    image_std=None,
    dtype=None,
    quantize=None,
):
    """Copies a pretrained model into a `ViTBackbone`; the source stays as it is.

    Args:
        source: one of `KNOWN_BACKBONES`.
        image_shape: optional `(height, width, 3)`; position embeddings are
            interpolated where it asks for another grid than the source's.
        image_mean, image_std: optional, on the [0, 1] scale; override the
            statistics that belong to the weights.
        dtype: optional dtype policy; defaults to the source's, with task
            variables in float32. `"bfloat16"` and `"float16"` are two bytes a weight.
        quantize: None or `"int8"`, see `compact`.

    Returns:
        `(backbone, classifier)`; the classifier is a `BaseClassifier`, or
        None where the source has none. A `ViTBackbone` is returned as it is
        unless an argument changes it.

    Raises:
        ValueError: if `source` is of an unknown kind.
        ImportError: if a preset is named and KerasHub is not installed.
    """
    check_quantization(quantize)
    options = {
        "image_shape": image_shape,
        "image_mean": image_mean,
        "image_std": image_std,
    }
    backbone, classifier = _convert(source, dtype, **options)
    policy = backbone.image_normalization.dtype_policy
    half = is_half(dtype) and policy != keras.dtype_policies.get(dtype)
    if half or quantize not in (None, backbone.quantization):
        gc.collect()  # a loaded original, in cycles, would stay beside two copies
        own = not isinstance(source, ViTBackbone)  # made here, nobody else has it
        backbone = compact(backbone, dtype if half else None, quantize, own)
    return backbone, classifier


def _convert(source, dtype, image_shape, image_mean, image_std):
    """As `convert`, with variables in float32."""
    statistics = resizing = None
    if isinstance(source, (str, os.PathLike)):
        source, statistics, resizing = load_preset(os.fspath(source))
    if isinstance(source, ViTBackbone):
        return _adapt(source, image_shape, image_mean, image_std, dtype), None
    model = source
    source = model.backbone if _match(model, _CLASSIFIERS) else model
    family = family_of(source)
    if family is None:
        raise ValueError(
            "`backbone` is of an unknown kind. Known kinds: "
            f"{'; '.join(KNOWN_BACKBONES)}. Received: {_describe(model)}"
        )
    encoder = getattr(source, "vision_encoder", source)  # of image and text towers
    dtype = float32_variables(dtype or encoder.dtype_policy)
    converter = _own_converter(model)
    own = image_statistics.from_image_converter(converter)
    mean, std = statistics or own or family.statistics
    with weights_are_copied():
        backbone = family.convert(
            source,
            image_shape=image_shape,
            image_mean=mean if image_mean is None else image_mean,
            image_std=std if image_std is None else image_std,
            resizing=resizing or preset_resizing.from_image_converter(converter),
            dtype=dtype,
        )
    if model is not source:
        return backbone, _classifier_of(model, dtype)
    return backbone, family.classifier(source, dtype=dtype)


def _adapt(backbone, image_shape, image_mean, image_std, dtype):
    """The backbone itself, or a replica where an argument changes it."""
    changes = {}
    if image_shape is not None:
        image_shape = check_image_shape(
            image_shape, backbone.patch_size, backbone.crop_to_patches
        )
        if image_shape != tuple(backbone.image_shape):
            changes["image_shape"] = image_shape
    if image_mean is not None:
        changes["image_mean"] = image_mean
    if image_std is not None:
        changes["image_std"] = image_std
    policy = backbone.image_normalization.dtype_policy
    same = dtype is None or policy == keras.dtype_policies.get(dtype)
    if not same and float32_variables(dtype) != policy:
        changes["dtype"] = float32_variables(dtype)
    # A trainable backbone is its owner's: ours is a frozen replica.
    if changes or backbone.trainable_variables:
        return backbone.replicate(**changes)
    return backbone


def family_of(source):
    """The `Family` of a backbone object, or None."""
    return _FAMILIES.get(_match(source, _FAMILIES))


def _match(source, kinds):
    """The `(library, class name)` in `kinds` that `source` is an instance of."""
    for cls in type(source).__mro__:
        key = (cls.__module__.partition(".")[0], cls.__name__)
        if key in kinds:
            return key
    return None


def _own_converter(model):
    preprocessor = getattr(model, "preprocessor", None)
    return getattr(preprocessor, "image_converter", None)


def _classifier_of(model, dtype):
    """The head of a KerasHub image classifier."""
    intermediate_dim = getattr(model, "intermediate_dim", None)
    hidden_dim = model.backbone.hidden_dim
    classifier = BaseClassifier(
        model.num_classes, model.pooling, intermediate_dim, dtype=dtype, name="base"
    )
    classifier.build((None, None, hidden_dim))
    if intermediate_dim:
        copy_dense(classifier.intermediate, model.intermediate_layer, hidden_dim)
    copy_dense(classifier.logits, model.output_dense, intermediate_dim or hidden_dim)
    return classifier


def _describe(model):
    cls = type(model)
    return f"backbone={model!r} of type {cls.__module__}.{cls.__name__}"
