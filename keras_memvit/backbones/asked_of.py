"""What a file may ask of a backbone before anything is computed at its word."""

import math

MAX_PATCHES = 1 << 14  # a table of positions of 50 MB at a width of 768
UNKNOWN_PATCH_SIZE = 14  # of a preset that is not loaded yet


def check_asked(source, what, image_shape, shapes):
    """Refuses what cannot fit the backbone or is enormous; files come from strangers.

    Args:
        source: what the caller has as a backbone; its sizes count where it says them.
        what: the file, to begin a sentence with.
        image_shape: the image shape that the file asks for, anything.
        shapes: the file's tensor shapes by name.

    Raises:
        ValueError: says what was asked and what there is.
    """
    source = getattr(source, "backbone", source)
    sides = all(type(side) is int and side > 0 for side in image_shape)
    if len(image_shape) != 3 or not sides or image_shape[2] != 3:
        raise ValueError(
            f"{what} must have an image shape [height, width, 3]. "
            f"Received: {image_shape}"
        )
    layers, width = (getattr(source, n, None) for n in ("num_layers", "hidden_dim"))
    memory = shapes.get("memory", ())
    known = len(memory) == 3 and None not in (layers, width)
    if known and (memory[0], memory[2]) != (layers, width):
        raise ValueError(
            f"{what} belongs to another backbone: its tensor 'memory' has the shape "
            f"{memory}. Received: a backbone of {layers} layers and the width {width}"
        )
    if tuple(image_shape) == tuple(getattr(source, "image_shape", None) or ()):
        return
    patch = getattr(source, "patch_size", None) or UNKNOWN_PATCH_SIZE
    patch = (patch,) * 2 if isinstance(patch, int) else patch
    patches = math.prod(side // size for side, size in zip(image_shape, patch))
    if patches > MAX_PATCHES:
        raise ValueError(
            f"{what} asks for images of the shape {image_shape}, {patches} patches; at "
            f"a file's word at most {MAX_PATCHES} are made. If it is right, build the "
            "backbone for that image shape first and load onto it"
        )
