"""Compile configs that any backend can load."""

TORCH_CLASSES = "keras.src.backend.torch.optimizers."


def portable_optimizers(config):
    """The config with Keras' optimisers in place of their classes on torch.

    On torch `keras.optimizers.Adam(...)` is an object of a class of that backend, and
    a config names this class: loaded elsewhere, it cannot work.

    Args:
        config: what `get_compile_config` gave, on any backend.
    """
    if isinstance(config, dict):
        found = {key: portable_optimizers(value) for key, value in config.items()}
        if str(found.get("module")).startswith(TORCH_CLASSES):
            found["module"] = "keras.optimizers"
        return found
    if isinstance(config, (list, tuple)):
        return type(config)(portable_optimizers(value) for value in config)
    return config
