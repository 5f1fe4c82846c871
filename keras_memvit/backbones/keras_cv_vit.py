"""KerasCV's legacy ViT (0.9), which runs on TensorFlow alone."""

import keras

from keras_memvit.backbones.vit_backbone import ViTBackbone
from keras_memvit.backbones.weights import copy_attention
from keras_memvit.backbones.weights import copy_dense
from keras_memvit.backbones.weights import copy_mlp
from keras_memvit.backbones.weights import copy_norm
from keras_memvit.backbones.weights import copy_patch_projection
from keras_memvit.backbones.weights import set_positions
from keras_memvit.backbones.weights import to_numpy
from keras_memvit.layers import BaseClassifier


def _layers(source, class_name):
    return [layer for layer in source.layers if type(layer).__name__ == class_name]


def convert_keras_cv_vit(source, image_shape=None, **kwargs):
    """A `ViTBackbone` with the weights of a `keras_cv` ViT.

    Args:
        source: the KerasCV model.
        image_shape: optional `(height, width, 3)`; positions are interpolated.
        **kwargs: further arguments of `ViTBackbone`.
    """
    own_shape = source.input_shape[1:]
    embedding = _layers(source, "PatchingAndEmbedding")[0]
    encoder = _layers(source, "TransformerEncoder")
    target = ViTBackbone(
        image_shape=own_shape if image_shape is None else image_shape,
        patch_size=source.patch_size,
        num_layers=source.transformer_layer_num,
        num_heads=source.num_heads,
        hidden_dim=source.project_dim,
        mlp_dim=source.mlp_dim,
        activation=_activation(encoder[0].activation),
        layer_norm_epsilon=encoder[0].layer_norm_epsilon,
        **kwargs,
    )
    copy_patch_projection(target.patch_embedding, embedding.projection)
    target.patch_embedding.class_token.assign(to_numpy(embedding.class_token)[0])
    positions = to_numpy(embedding.position_embedding.embeddings)
    grid_shape = [s // p for s, p in zip(own_shape, target.patch_size)]
    set_positions(target.patch_embedding, positions, grid_shape)
    for block, layer in zip(target.blocks, encoder):
        copy_norm(block.norm1, layer.layer_norm1)
        copy_attention(block.attention, layer.attn)
        copy_norm(block.norm2, layer.layer_norm2)
        copy_mlp(block.mlp, layer.dense1, layer.dense2)
    copy_norm(target.norm, _layers(source, "LayerNormalization")[-1])
    return target


def convert_keras_cv_classifier(source, **kwargs):
    """The classifier of a `keras_cv` ViT with `include_top=True`, else None."""
    if not source.include_top:
        return None
    dense = _layers(source, "Dense")[-1]
    classifier = BaseClassifier(source.num_classes, name="base", **kwargs)
    classifier.build((None, None, source.project_dim))
    copy_dense(classifier.logits, dense, source.project_dim)
    return classifier


def _activation(activation):
    # KerasCV calls `keras.activations.gelu` with approximate=True.
    known = {keras.activations.gelu: "gelu_tanh", keras.activations.relu: "relu"}
    if activation not in known:
        raise ValueError(
            "A KerasCV ViT must use one of the activations "
            f"{[f.__name__ for f in known]}. Received: activation={activation}"
        )
    return known[activation]
