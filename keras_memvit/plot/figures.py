"""Pictures of who attends to whom; needs matplotlib."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from keras import ops

from keras_memvit.models.compose import check_masked
from keras_memvit.models.compose import select
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.readouts import ClassToken
from keras_memvit.tasks.attention_mask import attention_mask as dense_mask
from keras_memvit.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attention", "attention_mask", "class_token_attention"]


def class_token_attention(
    model: MemoryViT, images: Any, task: str
) -> dict[str, np.ndarray]:
    """How a task's class token spreads its attention in every layer and head.

    Args:
        model: a `MemoryViT`.
        images: `(B, H, W, 3)` in [0, 255].
        task: str. The task's name.

    Returns:
        A dict of float arrays that sum to 1 over all of them: `"base"`
        `(B, L, H, T)`, `"class_token"` (itself) `(B, L, H, 1)`, `"memory"`
        `(B, L, H, M)`, its own first, then that of the tasks it sees; and,
        where it sees any, `"seen"` `(B, L, H, S)`, their class tokens.

    Raises:
        ValueError: if attention is unmasked or there is no such task.

    Example:

    ```python
    shares = keras_memvit.plot.class_token_attention(digits, images, "digits")
    shares["memory"].sum(axis=-1)  # (B, L, H), how much of its attention memory takes
    ```
    """
    check_masked(model, "model")
    encoder = select(model, task).encoder  # the task, and what it sees
    backbone = encoder.backbone
    tasks = [layer.task() for layer in encoder.tasks]
    readout, position = ClassToken(), list(map(_name, tasks)).index(task)
    state = readout.start(tasks, backbone, len(images))
    layers = []
    for i, (block, base) in enumerate(
        backbone.base_layers(ops.convert_to_tensor(images))
    ):
        normed, memory = readout.inputs(i, block, state)
        layout = state.layouts[i]
        gates = state.gates.at(i, layout)
        groups = block.attention.task_weights(
            normed, base, memory, layout, state.adapters.at(i), gates
        )
        layers.append(_of_task(groups, layout, position))
        state = readout.step(tasks, i, block, base, state)
    return {
        name: np.stack([layer[name] for layer in layers], axis=1) for name in layers[0]
    }


def _name(task):
    return task.spec.name


def _of_task(groups, layout, position):
    """One task's weights by what they weigh, each (B, H, n), without padding."""
    for weights, group in zip(groups, layout.groups):
        members = range(layout.num_tasks) if group.tasks is None else group.tasks
        if position in members:
            row = list(members).index(position)
            own = {}
            for name, value in weights.items():
                own[name] = ops.convert_to_numpy(value)[:, :, row]
                padding = getattr(group, f"{name}_padding", None)
                if padding is not None:
                    own[name] = own[name][..., ~padding[row]]
            if "seen" in own:
                memory = [own["memory"], _with_hidden(own, layout.read.get(position))]
                own["memory"] = np.concatenate(memory, axis=-1)
            return own


def _with_hidden(own, read):
    """What the memory of seen tasks takes, (B, H, n), 0 of what is not read."""
    found = own.pop("seen_memory", own["memory"][..., :0])
    if read is None:
        return found
    weights = np.zeros((*found.shape[:-1], len(read)), found.dtype)
    weights[..., read] = found
    return weights


def attention(
    model: MemoryViT, image: Any, task: str, *, path: str | os.PathLike | None = None
) -> "Figure":
    """Shows over which patches a task's class token attends, layer by layer.

    The mean over heads; above each layer the share that goes to memory.

    Args:
        model: a `MemoryViT`.
        image: `(H, W, 3)` in [0, 255].
        task: str. The task's name.
        path: optional file for the picture.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    keras_memvit.plot.attention(digits, images[0], "digits", path="attention.png")
    ```
    """
    from matplotlib.figure import Figure

    weights = class_token_attention(model, image[None], task)
    backbone = model.backbone
    patches = weights["base"][0].mean(axis=1)[:, backbone.num_base_tokens :]
    grid = backbone.patch_embedding.grid_shape
    memory = weights["memory"][0].sum(axis=-1).mean(axis=-1)  # (L,)
    columns = 4
    rows = -(-(backbone.num_layers + 1) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    axes[0].imshow(np.asarray(image, dtype="uint8"))
    axes[0].set_title(task, fontsize=8)
    for i in range(backbone.num_layers):
        axes[i + 1].imshow(patches[i].reshape(grid))
        axes[i + 1].set_title(f"layer {i + 1}: memory {memory[i]:.0%}", fontsize=8)
    return _save(figure, path)


def attention_mask(
    tasks: dict[str, int] | Sequence[TaskSpec],
    num_patches: int = 4,
    *,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """Shows who may attend to whom: the paper's Table 1.

    Args:
        tasks: as in `build`.
        num_patches: int. Defaults to `4`.
        path: optional file for the picture.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    keras_memvit.plot.attention_mask({"digits": 10, "faces": 2}, path="mask.png")
    ```
    """
    from matplotlib.figure import Figure

    mask = dense_mask(tasks, num_patches)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mask, cmap="Greys", vmin=0, vmax=1)
    axes.set(xlabel="key: base, class tokens, memory", ylabel="query")
    return _save(figure, path)


def _save(figure, path):
    if path is not None:
        figure.savefig(path)
    return figure
