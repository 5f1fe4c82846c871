"""How many batches a data set of any kind gives an epoch."""

import math


def num_batches(data, batch_size=32, validation_split=0.0):
    """Batches an epoch, or None where the data set does not tell.

    Args:
        data: arrays (one, or a list, tuple or dict of them, as long as each
            other), a `PyDataset`, a `tf.data.Dataset`, or anything else, of
            which `len` counts the batches.
        batch_size: int, for arrays.
        validation_split: float. The share of arrays that is not trained on.
    """
    if hasattr(data, "num_batches"):  # PyDataset
        return data.num_batches
    if hasattr(data, "cardinality"):  # tf.data: negative = unknown or endless
        count = int(data.cardinality())
        return count if count > 0 else None
    if isinstance(data, (list, tuple, dict)):
        data = data[0] if isinstance(data, (list, tuple)) else next(iter(data.values()))
    if hasattr(data, "shape"):
        kept = math.floor(data.shape[0] * (1.0 - (validation_split or 0.0)))
        return math.ceil(kept / batch_size)
    return len(data) if hasattr(data, "__len__") else None
