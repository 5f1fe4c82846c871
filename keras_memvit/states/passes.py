"""What the passes of `precompute` over a data set must be: finite, and alike."""

import keras
import numpy as np
from keras import ops

from keras_memvit.states.shards import flatten_targets


def refuse_endless(dataset):
    """A data set that repeats for ever would be written until the disk is full."""
    if hasattr(dataset, "cardinality"):  # tf.data says -1 of `.repeat()`
        endless = int(dataset.cardinality()) == -1
    else:
        is_indexed = isinstance(dataset, keras.utils.PyDataset)
        endless = is_indexed and dataset.num_batches is None
    if endless:
        raise ValueError(
            "`dataset` must end after one pass: leave out `.repeat()`, and ask for "
            f"more passes by `views`. Received an endless {type(dataset).__name__}"
        )


def require_labels(shard, targets):
    """A shard of the same images that is there already must have their labels."""
    if shard.card() is None:  # another process has not written it yet
        return
    found = shard.targets()
    differing = sorted(
        name
        for name in found.keys() | targets.keys()
        if name not in found
        or name not in targets
        or not np.array_equal(found[name], targets[name], equal_nan=True)
    )
    if differing:
        raise ValueError(
            "`dataset` must give the same labels and weights in the same order in "
            "every call and pass: turn shuffling off; for other labels choose an empty "
            f"folder. Received others of {differing} than {shard.stem} holds"
        )


def batches_of(dataset, batch_size):
    """`(images, targets)` batch by batch, in the data set's order."""
    if isinstance(dataset, tuple):
        dataset = _slices(keras.tree.map_structure(np.asarray, dataset), batch_size)
    elif isinstance(dataset, keras.utils.PyDataset):
        dataset = map(dataset.__getitem__, range(len(dataset)))
    for batch in dataset:
        batch = tuple(batch) if isinstance(batch, list) else batch
        batch = keras.tree.map_structure(ops.convert_to_numpy, batch)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        yield x, flatten_targets(y, sample_weight)


def _slices(arrays, batch_size):
    for start in range(0, len(arrays[0]), batch_size):
        rows = slice(start, start + batch_size)
        yield keras.tree.map_structure(lambda array, rows=rows: array[rows], arrays)
