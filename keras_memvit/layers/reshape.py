"""`ops.reshape` without looking through the shape."""

import keras
from keras import ops


def reshape(x, shape):
    """`x` in another shape.

    `ops.reshape` searches the shape for symbolic tensors, which takes ten times as
    long as torch does; a step has hundreds of these.

    Args:
        x: tensor.
        shape: tuple of ints, one of them -1 where it is not known.
    """
    if hasattr(x, "reshape") and not isinstance(x, keras.KerasTensor):
        return x.reshape(shape)
    return ops.reshape(x, shape)  # TensorFlow's tensors have no such method
