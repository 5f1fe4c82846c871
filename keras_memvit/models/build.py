"""`build`: from a pretrained backbone to a model that can be trained."""

from collections.abc import Sequence
from typing import Any

from keras_memvit.backbones.convert import convert
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.text_start import start_from
from keras_memvit.models.text_start import text_starts
from keras_memvit.models.unmasked_vit import UnmaskedViT
from keras_memvit.readouts import Readout
from keras_memvit.tasks.spec import Tasks
from keras_memvit.tasks.spec import parse_tasks

ATTENTIONS = ("masked", "unmasked")


def build(
    backbone: Any,
    tasks: Tasks,
    *,
    num_memory_tokens: int = 5,
    readout: str | dict | Readout = "class_token",
    attention: str = "masked",
    image_shape: Sequence[int] | None = None,
    image_mean: float | Sequence[float] | None = None,
    image_std: float | Sequence[float] | None = None,
    dtype: Any = None,
    quantize: str | None = None,
    classifier: Any = None,
    preprocessor: Any = None,
) -> MemoryViT | UnmaskedViT:
    """Adds tasks with learnable memory to a pretrained Vision Transformer.

    The caller's backbone is copied, never changed; a `ViTBackbone` that is
    frozen and needs no adapting is shared.

    Args:
        backbone: a KerasHub ViT, DeiT, DINOv2, DINOv3, CLIP, MetaCLIP 2 or SigLIP
            backbone (of the last three also the vision encoder alone), a KerasHub
            ViT or DeiT image classifier, a KerasCV ViT, a `ViTBackbone`, or a preset
            name, local preset folder or `hf://` handle that KerasHub resolves.
        tasks: a dict `{name: num_classes}` or a list of `TaskSpec`.
        num_memory_tokens: int. Memory tokens per layer for tasks given as a
            dict. Defaults to `5`.
        readout: how tasks given as a dict take from the frozen stream, see
            `TaskSpec`. Defaults to `"class_token"`.
        attention: `"masked"`: any number of tasks, nothing old changes.
            `"unmasked"`: the paper's first regime, one task whose memory is
            visible to every token, as an `UnmaskedViT`; it cannot be concatenated,
            extended or precomputed, and has no `"base"` output. Defaults to
            `"masked"`.
        image_shape: optional `(height, width, 3)`. Position embeddings are
            interpolated (bicubically) if it is not the pretrained one.
        image_mean, image_std: optional floats or 3 floats, on the [0, 1]
            scale. Default to the statistics of the preset, else those of the
            model's family.
        dtype: optional dtype policy such as `"mixed_bfloat16"`. Defaults to
            the backbone's. `"bfloat16"` and `"float16"` keep the backbone in two
            bytes a weight. Task variables are float32 in any case.
        quantize: None or `"int8"`: the kernels of the backbone's linear layers are
            int8, one byte a weight, and what enters them is quantised token by token.
            Task files travel between backbones of one origin, whatever their
            precision; answers differ by the rounding.
        classifier: optional layer from normed tokens to `"base"` in place of the
            backbone's own, such as a `keras_memvit.text_head`.
        preprocessor: optional KerasHub preprocessor, which says how text becomes tokens
            for tasks with `head_init="text"`. Needed with a backbone object; defaults
            to the preset's.

    Returns:
        A `MemoryViT` (unmasked: an `UnmaskedViT`). Images go in as `(B, H, W, 3)` in
        [0, 255]; out comes a dict of logits by task name, and `"base"` for a
        classifier's own, or the image embedding of CLIP, MetaCLIP 2 and SigLIP.

    Raises:
        ValueError: if an argument is not as above; the message says what
            would be.
        ImportError: if a preset is named and KerasHub is not installed.

    Example:

    >>> backbone = keras_memvit.ViTBackbone(
    ...     image_shape=(32, 32, 3), patch_size=16, num_layers=2,
    ...     num_heads=2, hidden_dim=32, mlp_dim=64)
    >>> model = keras_memvit.build(backbone, tasks={"digits": 10, "faces": 2})
    >>> sorted(model.output)
    ['digits', 'faces']
    """
    if attention not in ATTENTIONS:
        raise ValueError(
            f"`attention` must be one of {ATTENTIONS}. "
            f"Received: attention={attention!r}"
        )
    specs = parse_tasks(tasks, num_memory_tokens, readout)
    specs, heads = text_starts(backbone, specs, preprocessor)
    backbone, own = convert(
        backbone,
        image_shape=image_shape,
        image_mean=image_mean,
        image_std=image_std,
        dtype=dtype,
        quantize=quantize,
    )
    if attention == "unmasked":
        return UnmaskedViT(backbone, specs)
    model = MemoryViT(
        backbone, specs, classifier=own if classifier is None else classifier
    )
    for name, head in heads.items():
        start_from(model.task_layers[name], head)
    model.remember()
    return model
