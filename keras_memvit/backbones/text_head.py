"""`text_head`: a classifier of the class names alone, from a text tower."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_memvit.backbones.convert import family_of
from keras_memvit.backbones.presets import load_preset
from keras_memvit.layers.dtypes import float32_variables
from keras_memvit.layers.text_classifier import TextClassifier

# The layer with the scale (and bias) of the logits, by whole model.
_HEADS = {
    "CLIPBackbone": "clip_head",
    "MetaCLIP2Backbone": "metaclip_2_head",
    "SigLIPBackbone": "siglip_head",
}


def text_head(
    backbone: Any,
    class_names: Sequence[str],
    templates: Sequence[str] = ("a photo of a {}.",),
    *,
    preprocessor: Any = None,
) -> TextClassifier:
    """Classifies images by the names of the classes, without a labelled image.

    `logits = s z T / |z| + b`: `z` the image embedding, `T` the unit-length mean of
    the unit-length text embeddings of a class over all templates, `s` and `b` the
    pretrained model's scale and bias. As `build(..., classifier=head)` it answers as
    `"base"`, beside any tasks.

    Args:
        backbone: a KerasHub `CLIPBackbone`, `MetaCLIP2Backbone` or `SigLIPBackbone`,
            or a preset of one.
        class_names: list of distinct strings.
        templates: list of strings with a `{}` each, where the name goes.
        preprocessor: optional KerasHub preprocessor of the family, which says how text
            becomes tokens. Needed with an object; defaults to the preset's.

    Returns:
        A layer from normed tokens `(B, T, D)` to logits `(B, len(class_names))`.

    Raises:
        ValueError: if the backbone has no text tower, or an argument is not as above.
        ImportError: if a preset is named and KerasHub is not installed.

    Example:

    ```python
    clip = "clip_vit_base_patch32"
    head = keras_memvit.text_head(clip, ["cat", "dog"])
    model = keras_memvit.build(clip, tasks={"indoors": 2}, classifier=head)
    model.predict(images)["base"]  # (B, 2) logits of cat and dog
    ```
    """
    class_names, templates = _names(class_names), _templates(templates)
    if isinstance(backbone, (str, os.PathLike)):
        backbone, preprocessor = _load(os.fspath(backbone), preprocessor)
    name = type(backbone).__name__
    if name not in _HEADS or family_of(backbone) is None:
        raise ValueError(
            f"`backbone` must be one of {list(_HEADS)}, whole with its text tower, or "
            f"a preset of one. Received: backbone={backbone!r}"
        )
    if preprocessor is None:
        raise ValueError(
            "`preprocessor` must be given with a backbone object, which does not say "
            "how text becomes tokens: KerasHub's, made with the family's tokenizer"
        )
    columns = [
        _class_embedding(backbone, preprocessor, [t.format(n) for t in templates])
        for n in class_names
    ]
    return _head(backbone, getattr(backbone, _HEADS[name]), np.stack(columns, axis=1))


def _load(preset, preprocessor):
    model, *_ = load_preset(preset)
    if preprocessor is None and type(model).__name__ in _HEADS:
        import keras_hub

        preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(preset)
    return model, preprocessor


def _class_embedding(backbone, preprocessor, prompts):
    """The mean direction of a class' prompts: (E,)."""
    images = np.zeros((len(prompts), 1, 1, 3), "float32")  # asked for, not used
    tokens = preprocessor({"images": images, "prompts": prompts})["token_ids"]
    found = backbone.get_text_embeddings(ops.convert_to_tensor(np.asarray(tokens)))
    found = np.asarray(ops.convert_to_numpy(ops.cast(found, "float32")), "float64")
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    mean = found.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _head(backbone, pretrained, embeddings):
    """The layer, with the embeddings (E, C) and the pretrained scale and bias."""
    dtype = float32_variables(backbone.vision_encoder.dtype_policy)
    embedding = family_of(backbone).classifier(backbone, dtype=dtype)
    head = TextClassifier(embeddings.shape[1], embedding, dtype=dtype, name="base")
    head.build((None, None, backbone.vision_encoder.hidden_dim))
    scale = np.exp(float(ops.convert_to_numpy(pretrained.logit_scale)))
    head.kernel.assign((embeddings * scale).astype("float32"))
    if hasattr(pretrained, "logit_bias"):
        head.bias.assign(ops.convert_to_numpy(pretrained.logit_bias))
    return head


def _names(names):
    names = [names] if isinstance(names, str) else list(names)
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(
            "`class_names` must be two or more distinct names. "
            f"Received: class_names={names}"
        )
    return names


def _templates(templates):
    templates = [templates] if isinstance(templates, str) else list(templates)
    if not templates or not all("{}" in template for template in templates):
        raise ValueError(
            "`templates` must be strings with a `{}` for the class name. "
            f"Received: templates={templates}"
        )
    return templates
