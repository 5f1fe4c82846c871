"""Small backbones of KerasHub's families, with weights of a realistic scale.

`python tests/families.py` prints how far ours is from each original.
"""

import keras
import keras_hub
import numpy as np
from conftest import randomize

import keras_memvit
from keras_memvit.backbones.image_statistics import CLIP
from keras_memvit.backbones.image_statistics import IMAGENET
from keras_memvit.backbones.image_statistics import INCEPTION

SIZE = {"num_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64}
SQUARE = {"patch_size": 16, "image_shape": (48, 48, 3), **SIZE}
TEXT = {
    "vocabulary_size": 50,
    "embedding_dim": 32,
    "max_sequence_length": 8,
    **SIZE,
}
GATED = {
    "use_gated_mlp": True,
    "hidden_activation": "silu",
    "use_key_bias": False,
    "num_register_tokens": 0,
}
models = keras_hub.models


def dinov3(image_shape=(64, 48, 3), **kwargs):
    config = {**SQUARE, "image_shape": image_shape, "layer_scale_init_value": 1.0}
    return randomize(models.DINOV3Backbone(**{**config, **kwargs}))


def clip_encoder(**kwargs):
    encoder = randomize(models.CLIPVisionEncoder(**{**SQUARE, **kwargs}))
    places = encoder.embedding.position_ids  # in a preset in order, here zeros
    places.assign(np.arange(places.shape[1])[None])
    return encoder


def clip(**kwargs):
    text = models.CLIPTextEncoder(**TEXT)
    return randomize(models.CLIPBackbone(clip_encoder(**kwargs), text, 24))


def metaclip_encoder(**kwargs):
    return randomize(models.MetaCLIP2VisionEncoder(**{**SQUARE, **kwargs}))


def metaclip(**kwargs):
    text = models.MetaCLIP2TextEncoder(**TEXT)
    encoder = metaclip_encoder(**kwargs)
    return randomize(models.MetaCLIP2Backbone(encoder, text, 24))


def siglip_encoder(**kwargs):
    return randomize(models.SigLIPVisionEncoder(**{**SQUARE, **kwargs}))


def siglip(**kwargs):
    text = models.SigLIPTextEncoder(projection_dim=32, **TEXT)
    return randomize(models.SigLIPBackbone(siglip_encoder(**kwargs), text))


# How one is made, and the statistics of its images.
FAMILIES = {
    "DINOv3": (dinov3, IMAGENET),
    "DINOv3 gated": (lambda **kwargs: dinov3(**GATED, **kwargs), IMAGENET),
    "CLIP": (clip, CLIP),
    "CLIP gelu": (
        lambda **kwargs: clip_encoder(intermediate_activation="gelu", **kwargs),
        CLIP,
    ),
    "MetaCLIP 2": (metaclip, CLIP),
    "MetaCLIP 2 encoder": (metaclip_encoder, CLIP),
    "SigLIP": (siglip, INCEPTION),
    "SigLIP encoder": (siglip_encoder, INCEPTION),
    # 3 x 3 patches of 14 px in 46 px: the rest is not looked at.
    "SigLIP cropped": (
        lambda **kwargs: siglip_encoder(
            **{"patch_size": 14, "image_shape": (46, 46, 3), **kwargs}
        ),
        INCEPTION,
    ),
}
# One of each, for what does not depend on details.
ONE_EACH = ("DINOv3", "CLIP", "MetaCLIP 2", "SigLIP")


def tower(source):
    """The image tower of a whole model, or the encoder itself."""
    return getattr(source, "vision_encoder", source)


def images_for(source, count=3):
    shape = (count, *tower(source).image_shape)
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def normalized(images, statistics):
    mean, std = (np.array(s) for s in statistics)
    return ((images / 255.0 - mean) / std).astype("float32")


def original(source, images, statistics):
    """The untouched original's tokens, and its image embedding where it has one."""
    encoder, inputs = tower(source), normalized(images, statistics)
    (name,) = encoder.input
    if hasattr(encoder, "post_layer_norm"):  # SigLIP's tokens, before the pooling
        output = encoder.post_layer_norm.output
        tokens = keras.Model(encoder.inputs, output).predict(inputs, verbose=0)
        return tokens, encoder.predict({name: inputs}, verbose=0)
    tokens = encoder.predict({name: inputs}, verbose=0)
    if source is encoder:
        return tokens, None
    if hasattr(source, "vision_post_layer_norm"):  # MetaCLIP 2's, of all tokens
        tokens = keras.ops.convert_to_numpy(source.vision_post_layer_norm(tokens))
    embedding = source.get_vision_embeddings(keras.ops.convert_to_tensor(inputs))
    return tokens, keras.ops.convert_to_numpy(embedding)


def largest_differences(kind):
    """Of the tokens, and of the image embedding or None, in float32."""
    make, statistics = FAMILIES[kind]
    source = make()
    images = images_for(source)
    tokens, embedding = original(source, images, statistics)
    model = keras_memvit.build(source, {"a": 2})
    of_tokens = np.abs(model.backbone.predict(images, verbose=0) - tokens).max()
    if embedding is None:
        return of_tokens, None
    base = model.predict(images, verbose=0)["base"]
    return of_tokens, np.abs(base - embedding).max()


if __name__ == "__main__":
    for kind in FAMILIES:
        print(keras.backend.backend(), kind, *largest_differences(kind))
