"""Where the parts of a large backbone go, for `keras.distribution.ModelParallel`."""

import keras

# By a variable's path in the backbone: the axes that are split over the devices.
SPLIT = {
    r"^block_\d+/attention/(query|key|value)/kernel$": (None, True),
    r"^block_\d+/attention/(query|key|value)/bias$": (True,),
    r"^block_\d+/attention/output_projection/kernel$": (True, None),
    r"^block_\d+/mlp/expand/kernel$": (None, True),
    r"^block_\d+/mlp/expand/bias$": (True,),
    r"^block_\d+/mlp/contract/kernel$": (True, None),
}


def layout_map(
    device_mesh: keras.distribution.DeviceMesh, axis: str = "model"
) -> keras.distribution.LayoutMap:
    """Splits a frozen backbone over devices; tasks are whole on each.

    The projections of attention and of the feed-forward network, nearly all of a
    backbone's bytes, are split so that a layer exchanges its output twice and
    nothing else. Norms, embeddings, tasks and optimisers are copied to all. JAX's.

    Args:
        device_mesh: a `keras.distribution.DeviceMesh`.
        axis: str, the name of the mesh's axis to split over. The backbone's width and
            its `mlp_dim` must be multiples of the devices along it.

    Returns:
        A `keras.distribution.LayoutMap`. Give it to `ModelParallel` before the backbone
        is made.

    Raises:
        ValueError: if the mesh has no such axis.

    Example:

    >>> devices = ["cpu:0", "cpu:1"]
    >>> mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices)
    >>> layouts = keras_memvit.recipes.layout_map(mesh)
    >>> layouts["block_0/mlp/expand/kernel"].axes
    (None, 'model')
    """
    if axis not in device_mesh.axis_names:
        raise ValueError(
            f"`axis` must be one of the mesh's axes {list(device_mesh.axis_names)}. "
            f"Received: axis={axis!r}"
        )
    layouts = keras.distribution.LayoutMap(device_mesh)
    for path, axes in SPLIT.items():
        layouts[path] = tuple(axis if split else None for split in axes)
    return layouts
