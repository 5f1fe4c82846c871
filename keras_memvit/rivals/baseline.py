"""`baseline`: the rivals of learnable memory by name."""

from typing import Any

from keras_memvit.backbones.convert import convert
from keras_memvit.rivals.adapter import Adapter
from keras_memvit.rivals.consolidator import Consolidator
from keras_memvit.rivals.fish import Fish
from keras_memvit.rivals.full import Full
from keras_memvit.rivals.head import Head
from keras_memvit.rivals.head_class import HeadClass
from keras_memvit.rivals.ia3 import IA3
from keras_memvit.rivals.lora import LoRA
from keras_memvit.rivals.propagated import Propagated
from keras_memvit.rivals.propagated_update import PropagatedUpdate
from keras_memvit.rivals.rival import Rival
from keras_memvit.rivals.swr import SWR

# The class, and which of `baseline`'s options it takes.
RIVALS = {
    "full": (Full, ()),
    "head": (Head, ()),
    "head_class": (HeadClass, ()),
    "lora": (LoRA, ("rank",)),
    "ia3": (IA3, ()),
    "adapter": (Adapter, ("rank", "placement")),
    "consolidator": (Consolidator, ("groups",)),
    "fish": (Fish, ("keep", "num_examples", "fisher")),
    "swr": (SWR, ("rank", "budget", "policy_steps")),
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
    placement: str = "serial",
    groups: int | list[int] | tuple[int, ...] | None = None,
    keep: float = 0.005,
    num_examples: int = 256,
    fisher: str = "empirical",
    budget: int | None = None,
    policy_steps: int = 100,
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
            and the MLP's hidden layer, arXiv 2205.05638), `"adapter"` (head, norms,
            and bottlenecks behind attention and MLP, arXiv 2001.04253),
            `"consolidator"` (head and grouped connections beside all projections,
            arXiv 2305.00603), `"fish"` (head and the weights with the largest Fisher
            information, arXiv 2111.09839), `"swr"` (head and low-rank updates of the
            projections that a policy chooses under a budget, after arXiv
            2302.13435), or the paper's two losing variants of memory (figure 2b),
            with a new class token: `"propagated"` (memory enters the first layer and
            goes through all as any token) and `"propagated_update"` (and every later
            layer adds a learned update).
        image_shape: optional `(height, width, 3)`, as in `build`.
        rank: int. The rank of `"lora"` and `"swr"`, the width of the bottlenecks of
            `"adapter"`. Defaults to `8`.
        num_memory_tokens: int. Propagated memory tokens. Defaults to `5`.
        placement: `"serial"` or `"parallel"`, of `"adapter"`: whether a bottleneck
            reads what attention or the MLP gives, or what it takes.
        groups: int, or several, of `"consolidator"`. Defaults to `None`, half the
            backbone's width.
        keep: float in (0, 1], of `"fish"`: the share of weights that are trained.
            Defaults to `0.005`.
        num_examples: int, of `"fish"`: by how many of the first examples `fit`
            chooses them; `model.choose(images, labels)` before it does so by any.
            Defaults to `256`.
        fisher: `"empirical"` or `"expected"`, of `"fish"`: information on the labels,
            or on all classes by the model's own probabilities.
        budget: int, of `"swr"`: how many numbers may change beside the head. Defaults
            to `None`, a quarter of the updates of all projections.
        policy_steps: int, of `"swr"`: the training steps after which the choice is
            final; there should be more to train what is chosen. Defaults to `100`.
        dtype: optional dtype policy, as in `build`.

    Returns:
        A `keras.Model` from images `(B, H, W, 3)` in [0, 255] to logits
        `(B, num_classes)`. The caller's backbone is never changed. `"consolidator"`,
        `"fish"` and `"swr"` have `merged()`: a plain model with what was learned in
        the backbone's weights.

    Raises:
        ValueError: if `regime` is none of these, or wants a class token and
            the backbone has none, its weights are not float32, or an option is not
            what it should be.

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
    if frozen.source_fingerprint is not None:
        raise ValueError(
            "`backbone` must have float32 weights, which the rivals train or add to: "
            "neither `dtype='bfloat16'` nor `quantize`; `dtype='mixed_bfloat16'` "
            "computes in half precision"
        )
    rival, wanted = RIVALS[regime]
    if rival.needs_class_token and not frozen.use_class_token:
        raise ValueError(
            f"`regime` {regime!r} needs a backbone with a class token to replace"
        )
    options = {
        "rank": rank,
        "num_memory_tokens": num_memory_tokens,
        "placement": placement,
        "groups": groups,
        "keep": keep,
        "num_examples": num_examples,
        "fisher": fisher,
        "budget": budget,
        "policy_steps": policy_steps,
    }
    options = {name: options[name] for name in wanted}
    model = rival(frozen.replicate(), num_classes, **options)
    model.build((None, *frozen.image_shape))
    return model
