"""Which sizes of images a patch size allows."""


def check_image_shape(image_shape, patch_size):
    """Returns `(height, width, 3)` as ints, or says which sizes would do."""
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
        if size < patch or size % patch:
            near = sorted(
                {max(size // patch, 1) * patch, (max(size, 0) // patch + 1) * patch}
            )
            raise ValueError(
                f"The {side} in `image_shape` must be a multiple of the patch size "
                f"{patch}, such as {' or '.join(map(str, near))}. "
                f"Received: image_shape={image_shape}"
            )
    return shape
