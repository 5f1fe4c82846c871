"""What the passes of `precompute` over a data set must be: finite, and alike."""

import keras
import numpy as np


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
