"""The paper's Table 1 as a dense boolean matrix."""

import numpy as np

from keras_memvit.tasks.reads import READ
from keras_memvit.tasks.reads import check_reads
from keras_memvit.tasks.reads import codes_of
from keras_memvit.tasks.reads import num_layers_of
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.tasks.spec import parse_tasks


def attention_mask(
    tasks: dict[str, int] | list[TaskSpec],
    num_patches: int,
    *,
    num_base_tokens: int = 1,
    layer: int | None = None,
) -> np.ndarray:
    """Who may attend to whom: the paper's Table 1 for any "sees" relation.

    With base tokens `X` (class token, register tokens, patches), class tokens
    `C_k` and memory `M_k` of task `k`:

    | query \\ key | X   | C_j              | C_k | M_j              | M_k |
    |--------------|-----|------------------|-----|------------------|-----|
    | X            | yes | no               | no  | no               | no  |
    | C_k          | yes | if k sees j      | yes | if k sees j      | yes |

    Memory is a key only: it has columns and no rows. The matrix is dense and
    serves documentation, plots and tests; `MaskedMHA` never builds it.

    Args:
        tasks: a dict `{name: num_classes}` or a list of `TaskSpec`.
        num_patches: int. Number `N` of image patches, at least 1.
        num_base_tokens: int. Tokens in front of the patches: the class token
            and any register or distillation tokens; 0 where there are none.
            Defaults to `1`.
        layer: optional int. Which layer's, where tasks have fixed what they read (the
            `reads` of a `TaskSpec`); without it what they read in any.

    Returns:
        A NumPy boolean array of shape `(T + K, T + K + M)`, `True` = may
        attend, with `T = num_base_tokens + num_patches`, `K` tasks and `M`
        memory tokens in all. Rows (queries): base tokens, then class tokens
        in task order. Columns (keys): the same, then each task's memory.

    Raises:
        ValueError: if a number is no integer or too small, there is no such layer, or
            `tasks` is not as above.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), Table 1

    Example:

    >>> keras_memvit.attention_mask({"a": 2, "b": 2}, num_patches=4).shape
    (7, 17)
    """
    specs = parse_tasks(tasks)
    for argument, value, least in (
        ("num_patches", num_patches, 1),
        ("num_base_tokens", num_base_tokens, 0),
    ):
        if int(value) != value or value < least:
            raise ValueError(
                f"`{argument}` must be an integer of at least {least}. "
                f"Received: {argument}={value!r}"
            )
    sees = visible_tasks(specs)
    check_reads(specs, max((num_layers_of(s) for s in specs if s.reads), default=0))
    sizes = {spec.name: spec.num_memory_tokens for spec in specs}
    num_base = int(num_base_tokens) + int(num_patches)
    memory_start = num_base + len(specs)
    ends = memory_start + np.cumsum([spec.num_memory_tokens for spec in specs])
    columns = {  # the class token's column, and the slice of memory columns
        spec.name: (num_base + k, slice(ends[k] - spec.num_memory_tokens, ends[k]))
        for k, spec in enumerate(specs)
    }
    mask = np.zeros((num_base + len(specs), ends[-1]), dtype=bool)
    mask[:, :num_base] = True
    for k, spec in enumerate(specs):
        for name in [spec.name, *sees[spec.name]]:
            token, memory = columns[name]
            mask[num_base + k, token] = True
            mask[num_base + k, memory] = _read(spec, name, sizes[name], layer)
    return mask


def _read(spec, name, num_memory_tokens, layer):
    """Which memory tokens of a task that it sees a task reads, `(m,)`; True = all."""
    if spec.reads is None or name == spec.name:
        return True
    num_layers = num_layers_of(spec)
    if layer is not None and layer not in range(num_layers):
        raise ValueError(
            f"`layer` must be one of the {num_layers} layers that the `reads` of task "
            f"'{spec.name}' are of. Received: layer={layer!r}"
        )
    codes = codes_of(spec, name, (num_layers, num_memory_tokens)) == READ
    return codes.any(axis=0) if layer is None else codes[layer]
