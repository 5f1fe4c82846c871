"""`baseline`: the rivals of learnable memory by name."""

from typing import Any

from keras_memvit.backbones.convert import convert
from keras_memvit.rivals.full import Full
from keras_memvit.rivals.head import Head
from keras_memvit.rivals.head_class import HeadClass
from keras_memvit.rivals.ia3 import IA3
from keras_memvit.rivals.lora import LoRA
from keras_memvit.rivals.propagated import Propagated
from keras_memvit.rivals.propagated_update import PropagatedUpdate
from keras_memvit.rivals.rival import Rival

# The class, and which of `baseline`'s options it takes.
RIVALS = {
    "full": (Full, ()),
    "head": (Head, ()),
    "head_class": (HeadClass, ()),
    "lora": (LoRA, ("rank",)),
    "ia3": (IA3, ()),
    "propagated": (Propagated, ("num_memory_tokens",)),
    "propagated_update": (PropagatedUpdate, ("num_memory_tokens",)),
}


def baseline(
    backbone: Any,
    num_classes: int,
    regime: str,
    *,
    image_shape: tuple[int, int, int] | None = None,
    rank: int = 8,
    num_memory_tokens: int = 5,
    dtype: Any = None,
) -> Rival:
    """A plain Keras classifier on a copy of the backbone, to compare with.

    Args:
        backbone: whatever `build` takes.
        num_classes: int.
        regime: `"full"` (everything is trained), `"head"` (the head on the
            frozen class token), `"head_class"` (head and a new class token in
            place of the old one, the paper's "Head + Class"), `"lora"` (head
            and low-rank updates of query and value projections, Keras' own
            `Dense.enable_lora`), `"ia3"` (head and vectors that scale keys, values
            and the MLP's hidden layer, arXiv 2205.05638), or the paper's two
            losing variants of memory (figure 2b), with a new class token:
            `"propagated"` (memory enters the first layer and goes through all as
            any token) and `"propagated_update"` (and every later layer adds a
            learned update).
        image_shape: optional `(height, width, 3)`, as in `build`.
        rank: int. LoRA's rank. Defaults to `8`.
        num_memory_tokens: int. Propagated memory tokens. Defaults to `5`.
        dtype: optional dtype policy, as in `build`.

    Returns:
        A `keras.Model` from images `(B, H, W, 3)` in [0, 255] to logits
        `(B, num_classes)`. The caller's backbone is never changed.

    Raises:
        ValueError: if `regime` is none of these, or wants a class token and
            the backbone has none.

    Example:

    ```python
    full = keras_memvit.recipes.baseline(backbone, 10, "full")
    full.compile("adamw", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    full.fit(images, labels)
    ```
    """
    if regime not in RIVALS:
        raise ValueError(
            f"`regime` must be one of {tuple(RIVALS)}. Received: regime={regime!r}"
        )
    frozen, _ = convert(backbone, image_shape=image_shape, dtype=dtype)
    rival, wanted = RIVALS[regime]
    if rival.needs_class_token and not frozen.use_class_token:
        raise ValueError(
            f"`regime` {regime!r} needs a backbone with a class token to replace"
        )
    options = {"rank": rank, "num_memory_tokens": num_memory_tokens}
    options = {name: options[name] for name in wanted}
    model = rival(frozen.replicate(), num_classes, **options)
    model.build((None, *frozen.image_shape))
    return model
