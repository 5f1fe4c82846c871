"""KerasHub's DINOv3: rotary positions, register tokens, MLP or gated MLP."""

import numpy as np

from keras_memvit.backbones.activations import activation_of
from keras_memvit.backbones.image_shape import image_shape_of
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_attention
from keras_memvit.backbones.weights import copy_dense
from keras_memvit.backbones.weights import copy_mlp
from keras_memvit.backbones.weights import copy_norm
from keras_memvit.backbones.weights import copy_patch_projection
from keras_memvit.backbones.weights import to_numpy


def convert_dinov3(source, image_shape=None, **kwargs):
    """A `ViTBackbone` with the weights of a `keras_hub.models.DINOV3Backbone`.

    Args:
        source: the KerasHub backbone.
        image_shape: optional `(height, width, 3)`; no weight depends on it.
        **kwargs: further arguments of `ViTBackbone`.
    """
    embedding = source.embeddings
    own_shape = image_shape_of(source.image_shape, embedding.data_format)
    target = ViTBackbone(
        image_shape=own_shape if image_shape is None else image_shape,
        patch_size=source.patch_size,
        num_layers=source.num_layers,
        num_heads=source.num_heads,
        hidden_dim=source.hidden_dim,
        mlp_dim=source.intermediate_dim,
        activation=activation_of(source.hidden_activation, source.use_gated_mlp),
        layer_norm_epsilon=source.layer_norm_eps,
        num_register_tokens=source.num_register_tokens,
        use_qkv_bias=_biases(source),
        use_output_bias=source.use_proj_bias,
        use_mlp_bias=source.use_mlp_bias,
        use_layer_scale=True,
        use_position_embedding=False,
        rotary_theta=float(source.rope_theta),
        **kwargs,
    )
    patches = target.patch_embedding
    copy_patch_projection(patches, embedding.patch_embeddings.projection)
    patches.class_token.assign(to_numpy(embedding.cls_token)[0])
    if source.num_register_tokens:
        patches.register_tokens.assign(to_numpy(embedding.register_tokens)[0])
    for block, layer in zip(target.blocks, source.encoder.layers, strict=True):
        copy_norm(block.norm1, layer.norm1)
        copy_attention(block.attention, layer.attention)
        block.scale1.assign(to_numpy(layer.layer_scale1.lambda1))
        copy_norm(block.norm2, layer.norm2)
        if source.use_gated_mlp:
            _copy_gated_mlp(block.mlp, layer.mlp)
        else:
            copy_mlp(block.mlp, layer.mlp.up_proj, layer.mlp.down_proj)
        block.scale2.assign(to_numpy(layer.layer_scale2.lambda1))
    copy_norm(target.norm, source.layernorm)
    return target


def _biases(source):
    """One bool where query, key and value are alike, else three."""
    biases = (source.use_query_bias, source.use_key_bias, source.use_value_bias)
    return biases[0] if len(set(biases)) == 1 else biases


def _copy_gated_mlp(target, source):
    """Gate and hidden layer stand side by side in one projection."""
    parts = (source.gate_proj, source.up_proj)
    kernels = [to_numpy(part.kernel) for part in parts]
    target.expand.kernel.assign(np.concatenate(kernels, axis=1))
    if target.use_bias:
        target.expand.bias.assign(
            np.concatenate([to_numpy(part.bias) for part in parts])
        )
    copy_dense(target.contract, source.down_proj, target.mlp_dim)
