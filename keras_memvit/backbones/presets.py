"""Preset names, local preset folders and `hf://` handles, through KerasHub."""

from keras_memvit.backbones import image_statistics
from keras_memvit.backbones import preset_resizing
from keras_memvit.backbones.refused_presets import refuse_unread


def load_preset(preset):
    """Loads a preset with KerasHub.

    Args:
        preset: str. Anything that KerasHub's `from_preset` resolves.

    Returns:
        `(model, statistics, resizing)`: a KerasHub image classifier where the preset
        holds one, else its backbone; `(mean, std)` or None; and how it resizes images.

    Raises:
        ImportError: if KerasHub is not installed.
        ValueError: if it does not read the checkpoint; says what it reads.
    """
    try:
        import keras_hub
        from keras_hub.src.utils import preset_utils
    except ImportError as error:
        raise ImportError(
            f"Loading the preset {preset!r} needs KerasHub: `pip install keras-hub`."
        ) from error
    if _holds_classifier(preset, preset_utils):
        model = keras_hub.models.ImageClassifier.from_preset(preset)
    else:
        model = keras_hub.models.Backbone.from_preset(preset)
    return model, *_images(preset, keras_hub, preset_utils)


def _holds_classifier(preset, preset_utils):
    # KerasHub has no public way to ask; trying to load a classifier from a
    # backbone preset fails only after all its weights were read.
    if preset_utils.check_file_exists(preset, "task.json"):
        task = preset_utils.load_json(preset, "task.json")
        return task["class_name"].endswith("ImageClassifier")
    config = preset_utils.load_json(preset, "config.json")
    refuse_unread(preset, config)
    architectures = config.get("architectures") or [""]
    return architectures[0] in (
        "ViTForImageClassification",
        "DeiTForImageClassification",
    )


def _images(preset, keras_hub, preset_utils):
    for name, read in (
        ("image_converter.json", _from_keras_hub),
        ("preprocessor_config.json", _from_hugging_face),
    ):
        if preset_utils.check_file_exists(preset, name):
            return read(preset, keras_hub, preset_utils)
    return None, preset_resizing.from_image_converter(None)


def _from_keras_hub(preset, keras_hub, preset_utils):
    converter = keras_hub.layers.ImageConverter.from_preset(preset)
    return (
        image_statistics.from_image_converter(converter),
        preset_resizing.from_image_converter(converter),
    )


def _from_hugging_face(preset, keras_hub, preset_utils):
    config = preset_utils.load_json(preset, "preprocessor_config.json")
    return (
        image_statistics.from_preprocessor_config(config),
        preset_resizing.from_preprocessor_config(config),
    )
