"""How images of other sizes become a model's: interpolation, and what is cut away."""

DEFAULT = "bilinear"
CROP = "_crop"
RESIZINGS = (DEFAULT, "bicubic", DEFAULT + CROP, "bicubic" + CROP)


def check_resizing(resizing, what="`resizing`"):
    """Raises a `ValueError` unless it is one of `RESIZINGS`.

    Args:
        resizing: what was given.
        what: str. The argument's name, first words of the error.
    """
    if resizing not in RESIZINGS:
        raise ValueError(
            f"{what} must be one of {RESIZINGS}. Received: resizing={resizing!r}"
        )


def interpolation_of(resizing):
    """`"bilinear"` or `"bicubic"`."""
    return resizing.removesuffix(CROP)


def kept_part(image_size, size, resizing):
    """The part of an image that is resized, all of it unless `resizing` crops.

    Then it is the largest one in the middle that has the wanted aspect ratio, in whole
    pixels, as Keras' `Resizing(crop_to_aspect_ratio=True)` takes it.

    Args:
        image_size, size: `(height, width)`, of the image and wanted.
        resizing: one of `RESIZINGS`.

    Returns:
        `(top, left, height, width)` in pixels.
    """
    (height, width), (wanted_height, wanted_width) = image_size, size
    if not resizing.endswith(CROP):
        return 0, 0, height, width
    kept_height = max(min(height, width * wanted_height // wanted_width), 1)
    kept_width = max(min(width, height * wanted_width // wanted_height), 1)
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return top, left, kept_height, kept_width


def by_resizing(specs):
    """Names of tasks by how their images are resized: a dict of lists.

    Args:
        specs: iterable of `TaskSpec`.
    """
    found = {}
    for spec in specs:
        found.setdefault(spec.resizing, []).append(spec.name)
    return found


def common_resizing(specs):
    """The one `resizing` of all tasks, where an image is resized once for all.

    Raises:
        ValueError: if they have several; says which tasks have which.
    """
    found = by_resizing(specs)
    if len(found) > 1:
        raise ValueError(
            "Tasks that answer an image together must have one `resizing`. "
            f"Received: {found}; take those of each apart"
        )
    return next(iter(found), DEFAULT)
