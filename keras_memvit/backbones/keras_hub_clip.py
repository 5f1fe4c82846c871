"""The image towers of KerasHub's CLIP and MetaCLIP 2."""

from keras_memvit.backbones.activations import activation_of
from keras_memvit.backbones.image_shape import own_or_other
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_attention
from keras_memvit.backbones.weights import copy_dense
from keras_memvit.backbones.weights import copy_mlp
from keras_memvit.backbones.weights import copy_norm
from keras_memvit.backbones.weights import copy_patch_projection
from keras_memvit.backbones.weights import copy_positions
from keras_memvit.backbones.weights import to_numpy
from keras_memvit.layers import BaseClassifier


def convert_clip(source, image_shape=None, **kwargs):
    """A `ViTBackbone` with the weights of an image tower of CLIP's kind.

    Args:
        source: a `CLIPBackbone`, `MetaCLIP2Backbone`, or the vision encoder of one.
        image_shape: optional `(height, width, 3)`; positions are interpolated.
        **kwargs: further arguments of `ViTBackbone`.
    """
    encoder = getattr(source, "vision_encoder", source)
    embedding = encoder.embedding
    # MetaCLIP 2 has its last norm outside of the encoder.
    norm = getattr(encoder, "layer_norm", None)
    norm = norm or getattr(source, "vision_post_layer_norm", None)
    target = ViTBackbone(
        **own_or_other(encoder, image_shape),
        patch_size=encoder.patch_size,
        num_layers=encoder.num_layers,
        num_heads=encoder.num_heads,
        hidden_dim=encoder.hidden_dim,
        mlp_dim=encoder.intermediate_dim,
        activation=activation_of(encoder.intermediate_activation),
        layer_norm_epsilon=1e-5,
        use_patch_bias=False,
        use_pre_norm=True,
        use_final_norm=norm is not None,
        **kwargs,
    )
    patches = target.patch_embedding
    copy_patch_projection(patches, embedding.patch_embedding)
    patches.class_token.assign(to_numpy(embedding.class_embedding)[None])
    copy_positions(patches, embedding, encoder.patch_size)
    copy_norm(target.pre_norm, encoder.pre_layer_norm)
    for block, layer in zip(target.blocks, encoder.encoder_layers, strict=True):
        copy_norm(block.norm1, layer.layer_norm_1)
        copy_attention(block.attention, layer.attention)
        copy_norm(block.norm2, layer.layer_norm_2)
        copy_mlp(block.mlp, layer.dense_1, layer.dense_2)
    if norm is not None:
        copy_norm(target.norm, norm)
    return target


def convert_clip_projection(source, **kwargs):
    """The projection of the class token to the space shared with text, or None.

    Its output is what the original's `get_vision_embeddings` gives.
    """
    if not hasattr(source, "vision_projection"):
        return None
    width = source.vision_encoder.hidden_dim
    classifier = BaseClassifier(
        source.projection_dim, use_bias=False, name="base", **kwargs
    )
    classifier.build((None, None, width))
    copy_dense(classifier.logits, source.vision_projection, width)
    return classifier
