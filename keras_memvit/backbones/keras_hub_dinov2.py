"""KerasHub's DINOv2, with and without register tokens, MLP or SwiGLU."""

from keras_memvit.backbones.position_embedding import interpolate_position_embedding
from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_attention
from keras_memvit.backbones.weights import copy_mlp
from keras_memvit.backbones.weights import copy_norm
from keras_memvit.backbones.weights import copy_patch_projection
from keras_memvit.backbones.weights import to_numpy


def convert_dinov2(source, image_shape=None, **kwargs):
    """A `ViTBackbone` with the weights of a `keras_hub.models.DINOV2Backbone`.

    Args:
        source: the KerasHub backbone.
        image_shape: optional `(height, width, 3)`. Its position embeddings
            are interpolated from the pretrained table; `None` takes the
            source's image shape and its own interpolated table.
        **kwargs: further arguments of `ViTBackbone`.
    """
    embedding = source.embeddings
    target = ViTBackbone(
        image_shape=image_shape or (*embedding.image_shape, 3),
        patch_size=source.patch_size,
        num_layers=source.num_layers,
        num_heads=source.num_heads,
        hidden_dim=source.hidden_dim,
        mlp_dim=_mlp_dim(source),
        activation="swiglu" if source.use_swiglu_ffn else "gelu",
        num_register_tokens=source.num_register_tokens,
        use_layer_scale=True,
        **kwargs,
    )
    patches = target.patch_embedding
    copy_patch_projection(patches, embedding.patch_embeddings.projection)
    patches.class_token.assign(to_numpy(embedding.cls_token)[0])
    if source.num_register_tokens:
        patches.register_tokens.assign(to_numpy(embedding.register_tokens)[0])
    patches.position_embedding.assign(_positions(embedding, patches.grid_shape))
    for block, layer in zip(target.blocks, source.encoder.layers):
        copy_norm(block.norm1, layer.norm1)
        copy_attention(block.attention, layer.attention.attention)
        block.scale1.assign(to_numpy(layer.layer_scale1.lambda1))
        copy_norm(block.norm2, layer.norm2)
        if source.use_swiglu_ffn:
            copy_mlp(block.mlp, layer.mlp.weights_in, layer.mlp.weights_out)
        else:
            copy_mlp(block.mlp, layer.mlp.fc1, layer.mlp.fc2)
        block.scale2.assign(to_numpy(layer.layer_scale2.lambda1))
    copy_norm(target.norm, source.layernorm)
    return target


def _mlp_dim(source):
    if source.use_swiglu_ffn:
        return source.encoder.layers[0].mlp.actual_intermediate_dim
    return source.intermediate_dim


def _positions(embedding, grid_shape):
    patch_size = embedding.patch_size
    if grid_shape == tuple(side // patch_size for side in embedding.image_shape):
        return to_numpy(embedding.interpolated_position_embeddings)[0]
    return interpolate_position_embedding(
        to_numpy(embedding.position_embeddings)[0],
        tuple(side // patch_size for side in embedding.position_embedding_shape),
        grid_shape,
        antialias=embedding.antialias_in_interpolation,
    )
