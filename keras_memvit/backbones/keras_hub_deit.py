"""KerasHub's DeiT, with both its class token and its distillation token."""

from keras_memvit.backbones.image_shape import image_shape_of
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_attention
from keras_memvit.backbones.weights import copy_mlp
from keras_memvit.backbones.weights import copy_norm
from keras_memvit.backbones.weights import copy_patch_projection
from keras_memvit.backbones.weights import set_positions
from keras_memvit.backbones.weights import to_numpy


def convert_deit(source, image_shape=None, **kwargs):
    """A `ViTBackbone` with the weights of a `keras_hub.models.DeiTBackbone`.

    The distillation token becomes a register token, its position added.

    Args:
        source: the KerasHub backbone.
        image_shape: optional `(height, width, 3)`; positions are interpolated.
        **kwargs: further arguments of `ViTBackbone`.
    """
    own_shape = image_shape_of(source.image_shape, source.data_format)
    target = ViTBackbone(
        image_shape=own_shape if image_shape is None else image_shape,
        patch_size=source.patch_size,
        num_layers=source.num_layers,
        num_heads=source.num_heads,
        hidden_dim=source.hidden_dim,
        mlp_dim=source.intermediate_dim,
        layer_norm_epsilon=source.layer_norm_epsilon,
        num_register_tokens=1,
        use_qkv_bias=source.use_mha_bias,
        use_output_bias=source.use_mha_bias,
        **kwargs,
    )
    embedding = source.get_layer("deit_patching_and_embedding")
    copy_patch_projection(target.patch_embedding, embedding.patch_embedding)
    positions = to_numpy(embedding.position_embedding)[
        0
    ]  # class, distillation, patches
    target.patch_embedding.class_token.assign(to_numpy(embedding.class_token)[0])
    target.patch_embedding.register_tokens.assign(
        to_numpy(embedding.distillation_token)[0] + positions[1:2]
    )
    grid_shape = [s // p for s, p in zip(own_shape, target.patch_size)]
    positions = positions[[0, *range(2, len(positions))]]
    set_positions(target.patch_embedding, positions, grid_shape)
    encoder = source.get_layer("deit_encoder")
    for block, layer in zip(target.blocks, encoder.encoder_layers):
        copy_norm(block.norm1, layer.layer_norm_1)
        copy_attention(block.attention, layer.mha)
        copy_norm(block.norm2, layer.layer_norm_2)
        copy_mlp(block.mlp, layer.mlp.dense, layer.output_layer.dense)
    copy_norm(target.norm, encoder.layer_norm)
    return target
