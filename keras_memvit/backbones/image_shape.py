"""Which sizes of images a patch size allows."""

import numpy as np


def check_image_shape(image_shape, patch_size, crop=False):
    """Returns `(height, width, 3)` as ints, or says which sizes would do.

    Args:
        image_shape: `(height, width)` or `(height, width, 3)`.
        patch_size: `(height, width)`.
        crop: bool. Whether a part that fills no patch is allowed.
    """
    try:
        shape = tuple(int(side) for side in image_shape)
    except (TypeError, ValueError):
        shape = ()
    if len(shape) == 2:
        shape = (*shape, 3)
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(
            "`image_shape` must be (height, width, 3). "
            f"Received: image_shape={image_shape}"
        )
    for side, size, patch in zip(("height", "width"), shape, patch_size):
        if size < patch or (size % patch and not crop):
            near = sorted(
                {max(size // patch, 1) * patch, (max(size, 0) // patch + 1) * patch}
            )
            raise ValueError(
                f"The {side} in `image_shape` must be a multiple of the patch size "
                f"{patch}, such as {' or '.join(map(str, near))}. "
                f"Received: image_shape={image_shape}"
            )
    return shape


def image_shape_of(image_shape, data_format):
    """`(height, width, 3)` of a KerasHub model's shape, whatever its data format."""
    shape = tuple(image_shape)
    return (*shape[1:], shape[0]) if data_format == "channels_first" else shape


def own_or_other(encoder, image_shape=None):
    """`ViTBackbone`'s arguments for a vision encoder at its own or another size.

    At its own size an encoder leaves out what fills no patch, as 6 of SigLIP's 384 px
    in patches of 14; another size is to be a multiple.
    """
    own = image_shape_of(encoder.image_shape, encoder.embedding.data_format)
    same = image_shape is None or (
        np.ndim(image_shape) == 1 and tuple(image_shape)[:2] == own[:2]
    )
    if not same:
        return {"image_shape": image_shape}
    crop = any(side % encoder.patch_size for side in own[:2])
    return {"image_shape": own, "crop_to_patches": crop}
