"""A backbone's arguments as plain values, and its copies."""

import keras

from keras_memvit.backbones.position_embedding import interpolate_position_embedding

ARGUMENTS = (
    "image_shape",
    "patch_size",
    "num_layers",
    "num_heads",
    "hidden_dim",
    "mlp_dim",
    "activation",
    "layer_norm_epsilon",
    "use_class_token",
    "num_register_tokens",
    "use_qkv_bias",
    "use_output_bias",
    "use_mlp_bias",
    "use_patch_bias",
    "use_layer_scale",
    "use_pre_norm",
    "image_mean",
    "image_std",
)
# Left out where they are as here: configs and fingerprints are then those of files
# that were written before there was such an argument.
LATER_ARGUMENTS = {
    "use_position_embedding": True,
    "rotary_theta": None,
    "use_final_norm": True,
    "crop_to_patches": False,
}


def architecture(backbone):
    """The arguments that make a `ViTBackbone`, but for name and precision: a dict."""
    values = {name: getattr(backbone, name) for name in ARGUMENTS}
    for name, default in LATER_ARGUMENTS.items():
        if getattr(backbone, name) != default:
            values[name] = getattr(backbone, name)
    # Plain lists: Keras' tracked ones hold the layers of the model that they are of.
    return {
        k: list(v) if isinstance(v, (tuple, list)) else v for k, v in values.items()
    }


def copy_weights(source, target, antialias=False):
    """Copies a `ViTBackbone`'s weights, one by one, into one for another image size."""
    positions = source.patch_embedding.position_embedding
    for own, weight in zip(target.weights, source.weights, strict=True):
        value = keras.ops.convert_to_numpy(weight)
        if weight is positions:
            value = interpolate_position_embedding(
                value,
                source.patch_embedding.grid_shape,
                target.patch_embedding.grid_shape,
                antialias=antialias,
            )
        own.assign(value)
