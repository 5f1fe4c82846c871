"""Copying weights between Keras layers of different libraries."""

import keras
import numpy as np

from keras_memvit.backbones.position_embedding import interpolate_position_embedding


def to_numpy(weight):
    """A variable as a float32 array."""
    return np.asarray(keras.ops.convert_to_numpy(weight), dtype="float32")


def copy_dense(target, source, width):
    """Copies a `Dense` or an attention `EinsumDense`, heads flattened.

    Args:
        target: a built `keras.layers.Dense`.
        source: a layer with `kernel` and possibly `bias`.
        width: number of inputs of the projection.
    """
    target.kernel.assign(to_numpy(source.kernel).reshape(width, -1))
    if target.bias is not None:
        target.bias.assign(to_numpy(source.bias).reshape(-1))


def copy_norm(target, source):
    """Copies a `LayerNormalization`."""
    target.gamma.assign(to_numpy(source.gamma))
    target.beta.assign(to_numpy(source.beta))


def copy_attention(target, source):
    """Copies a `keras.layers.MultiHeadAttention` into a `MaskedMHA`."""
    hidden_dim = target.query.kernel.shape[0]
    inner_dim = target.query.kernel.shape[1]
    copy_dense(target.query, source.query_dense, hidden_dim)
    copy_dense(target.key, source.key_dense, hidden_dim)
    copy_dense(target.value, source.value_dense, hidden_dim)
    copy_dense(target.output_projection, source.output_dense, inner_dim)


def copy_patch_projection(target, source):
    """Copies a patch `Conv2D` into a `PatchEmbedding`."""
    target.kernel.assign(to_numpy(source.kernel))
    if target.use_bias:
        target.bias.assign(to_numpy(source.bias))


def set_positions(target, positions, grid_shape, antialias=False):
    """Fills a `PatchEmbedding`'s table, interpolated where its grid is another.

    Args:
        target: the `PatchEmbedding`.
        positions: array `(P + N, D)`, the class token's first.
        grid_shape: `(rows, columns)` of the `N` patches.
        antialias: bool. Whether to widen the kernel when shrinking.
    """
    target.position_embedding.assign(
        interpolate_position_embedding(
            positions, grid_shape, target.grid_shape, antialias
        )
    )


def copy_positions(target, embedding, patch_size):
    """Copies the table of a CLIP or SigLIP embedding, of square images."""
    # CLIP keeps the places of its positions among its weights.
    places = np.asarray(keras.ops.convert_to_numpy(embedding.position_ids))[0]
    positions = to_numpy(embedding.position_embedding.embeddings)
    side = embedding.image_size // patch_size
    set_positions(target, positions[places.astype("int64")], (side, side))


def copy_mlp(target, expand, contract):
    """Copies the two `Dense` layers of an MLP."""
    copy_dense(target.expand, expand, expand.kernel.shape[0])
    copy_dense(target.contract, contract, contract.kernel.shape[0])
