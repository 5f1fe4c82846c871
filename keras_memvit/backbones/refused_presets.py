"""Checkpoints of families that convert, in a form that KerasHub does not read."""

_WAYS = {
    "clip": "a KerasHub preset, such as 'clip_vit_base_patch32'",
    "clip_vision_model": "a KerasHub preset, such as 'clip_vit_base_patch32'",
    "siglip": "a KerasHub preset, such as 'siglip_base_patch16_224' or "
    "'siglip2_base_patch16_224'",
    "siglip_vision_model": "a KerasHub preset, such as 'siglip_base_patch16_224'",
    "siglip2": "a variant of fixed resolution, such as the KerasHub preset "
    "'siglip2_base_patch16_224', not NaFlex, whose images differ in size",
    "siglip2_vision_model": "a variant of fixed resolution, such as the KerasHub "
    "preset 'siglip2_base_patch16_224', not NaFlex, whose images differ in size",
}


def refuse_unread(preset, config):
    """Raises where a Hugging Face or timm checkpoint has no reader; says what has.

    Args:
        preset: str. What the caller named.
        config: dict. The checkpoint's `config.json`.

    Raises:
        ValueError: if KerasHub reads no such checkpoint but the family converts.
    """
    model_type, architecture = config.get("model_type"), config.get("architecture", "")
    if model_type in _WAYS:
        raise ValueError(
            f"`backbone` must be {_WAYS[model_type]}: KerasHub does not read Hugging "
            f"Face checkpoints of the type {model_type!r}. "
            f"Received: backbone={preset!r}"
        )
    if "vit" in str(architecture).lower():  # timm's; theirs have no `model_type`
        raise ValueError(
            "`backbone` must be a KerasHub preset or a Hugging Face transformers "
            "checkpoint of ViT, DeiT, DINOv2, DINOv3 or MetaCLIP 2: KerasHub does not "
            f"read timm's Vision Transformers. Received: backbone={preset!r} of the "
            f"architecture {architecture!r}"
        )
