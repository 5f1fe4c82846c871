"""States as int8: a token's numbers over one scale, whose bytes follow them."""

import numpy as np

SCALE_BYTES = 4  # float32, little-endian


def to_int8(states):
    """float `(..., D)` -> int8 `(..., D + 4)`, `x ~ q s` with `s = max |x| / 127`."""
    states = np.asarray(states, "float32")
    scale = np.abs(states).max(axis=-1, keepdims=True) / 127
    scale[scale == 0] = 1.0
    scale = np.ascontiguousarray(scale, "<f4")
    whole = np.rint(states / scale).astype("int8")
    return np.concatenate([whole, scale.view("int8")], axis=-1)
