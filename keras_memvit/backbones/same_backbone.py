"""The refusal of what was made with another backbone."""


def require_same_backbone(backbone, fingerprint, image_shape, what):
    """Raises unless this is the backbone that something was made with.

    Args:
        backbone: the `ViTBackbone` at hand.
        fingerprint, image_shape: those of the backbone it was made with.
        what: str. What it is, to begin a sentence with.

    Raises:
        ValueError: says both fingerprints and image shapes.
    """
    own = backbone.fingerprint()
    if fingerprint != own:
        raise ValueError(
            f"{what} belongs to another backbone (weights, image shape or image "
            f"statistics differ): it was made with {fingerprint[:12]} at image shape "
            f"{list(image_shape)}. Received: a backbone {own[:12]} at "
            f"{list(backbone.image_shape)}"
        )
