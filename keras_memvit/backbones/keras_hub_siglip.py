"""The image towers of KerasHub's SigLIP and SigLIP 2, of fixed resolution."""

from keras_memvit.backbones.activations import activation_of
from keras_memvit.backbones.image_shape import own_or_other
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_attention
from keras_memvit.backbones.weights import copy_mlp
from keras_memvit.backbones.weights import copy_norm
from keras_memvit.backbones.weights import copy_patch_projection
from keras_memvit.backbones.weights import copy_positions
from keras_memvit.backbones.weights import to_numpy
from keras_memvit.layers import AttentionPooling
from keras_memvit.layers import BaseClassifier

EPSILON = 1e-6  # of the last norm, whatever the others have


def convert_siglip(source, image_shape=None, **kwargs):
    """A `ViTBackbone` without class token, of a SigLIP's image tower.

    Args:
        source: a `SigLIPBackbone`, or a `SigLIPVisionEncoder`.
        image_shape: optional `(height, width, 3)`; positions are interpolated.
        **kwargs: further arguments of `ViTBackbone`.
    """
    encoder = getattr(source, "vision_encoder", source)
    if encoder.layer_norm_epsilon != EPSILON:
        raise ValueError(
            f"A SigLIP backbone must have layer_norm_epsilon={EPSILON} as all presets. "
            f"Received: layer_norm_epsilon={encoder.layer_norm_epsilon}"
        )
    target = ViTBackbone(
        **own_or_other(encoder, image_shape),
        patch_size=encoder.patch_size,
        num_layers=encoder.num_layers,
        num_heads=encoder.num_heads,
        hidden_dim=encoder.hidden_dim,
        mlp_dim=encoder.intermediate_dim,
        activation=activation_of(encoder.intermediate_activation),
        layer_norm_epsilon=EPSILON,
        use_class_token=False,
        **kwargs,
    )
    copy_patch_projection(target.patch_embedding, encoder.embedding.patch_embedding)
    copy_positions(target.patch_embedding, encoder.embedding, encoder.patch_size)
    for block, layer in zip(target.blocks, encoder.encoder_layers, strict=True):
        copy_norm(block.norm1, layer.layer_norm1)
        copy_attention(block.attention, layer.self_attn)
        copy_norm(block.norm2, layer.layer_norm2)
        copy_mlp(block.mlp, layer.mlp.fc1, layer.mlp.fc2)
    copy_norm(target.norm, encoder.post_layer_norm)
    return target


def convert_siglip_head(source, **kwargs):
    """The attention pooling, whose output is the original's image embedding."""
    encoder = getattr(source, "vision_encoder", source)
    head = encoder.head
    pooling = AttentionPooling(
        encoder.num_heads,
        encoder.intermediate_dim,
        activation=activation_of(encoder.intermediate_activation),
        layer_norm_epsilon=encoder.layer_norm_epsilon,
        name="pooling",
        **kwargs,
    )
    classifier = BaseClassifier(
        encoder.hidden_dim, pooling, use_logits=False, name="base", **kwargs
    )
    classifier.build((None, None, encoder.hidden_dim))
    pooling.probe.assign(to_numpy(head.probe)[0])
    copy_attention(pooling.attention, head.attention)
    copy_norm(pooling.norm, head.layer_norm)
    copy_mlp(pooling.mlp, head.mlp.fc1, head.mlp.fc2)
    return classifier
