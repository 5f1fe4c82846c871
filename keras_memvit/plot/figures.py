"""Pictures of who attends to whom; needs matplotlib."""

import numpy as np
from keras import ops

from keras_memvit.models.compose import select
from keras_memvit.tasks.attention_mask import attention_mask as dense_mask
from keras_memvit.tasks.layout import layout_of

__all__ = ["attention", "attention_mask", "class_token_attention"]


def class_token_attention(model, images, task):
    """How a task's class token spreads its attention in every layer and head.

    Args:
        model: a `MemoryViT` with masked attention.
        images: `(B, H, W, 3)` in [0, 255].
        task: str. The task's name.

    Returns:
        A dict of float arrays that sum to 1 over all of them: `"base"`
        `(B, L, H, T)`, `"class_token"` (itself) `(B, L, H, 1)`, `"memory"`
        `(B, L, H, M)`, its own first, then that of the tasks it sees; and,
        where it sees any, `"seen"` `(B, L, H, S)`.

    Raises:
        ValueError: if attention is unmasked or there is no such task.
    """
    if model.attention != "masked":
        raise ValueError(
            "`model` must have masked attention. Received attention='unmasked'"
        )
    encoder = select(model, task).encoder  # the task, and what it sees
    backbone = encoder.backbone
    layout = layout_of(tuple(encoder.specs))
    position = [spec.name for spec in encoder.specs].index(task)
    x = backbone.embed(ops.convert_to_tensor(images))
    class_tokens = encoder.class_tokens(len(images))
    layers = []
    for i, block in enumerate(backbone.blocks):
        base = block.base_states(x)
        memory = block.norm_memory(encoder.memory(i), layout.memory_norm)
        memory = block.attention.project(memory)
        normed = block.norm1(class_tokens)
        groups = block.attention.task_weights(normed, base, memory, layout)
        layers.append(_of_task(groups, layout, position))
        (class_tokens,) = block.advance_tasks(class_tokens, base, memory, layout)
        x = block.advance_base(x, base)
    names = ("base", "class_token", "memory", "seen")[: len(layers[0])]
    return {
        name: np.stack([layer[k] for layer in layers], axis=1)
        for k, name in enumerate(names)
    }


def _of_task(groups, layout, position):
    """One task's weights, each (B, H, n), without padding."""
    for weights, group in zip(groups, layout.groups):
        members = range(layout.num_tasks) if group.tasks is None else group.tasks
        if position in members:
            row = list(members).index(position)
            own = [ops.convert_to_numpy(w)[:, :, row] for w in weights]
            for k, bias in ((2, group.memory_bias), (3, group.seen_bias)):
                if k < len(own) and bias is not None:
                    own[k] = own[k][..., np.isfinite(bias[row])]
            return own


def attention(model, image, task, *, path=None):
    """Shows over which patches a task's class token attends, layer by layer.

    The mean over heads; above each layer the share that goes to memory.

    Args:
        model: a `MemoryViT` with masked attention.
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


def attention_mask(tasks, num_patches=4, *, path=None):
    """Shows who may attend to whom: the paper's Table 1.

    Args:
        tasks: as in `build`.
        num_patches: int. Defaults to `4`.
        path: optional file for the picture.

    Returns:
        A `matplotlib.figure.Figure`.
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
