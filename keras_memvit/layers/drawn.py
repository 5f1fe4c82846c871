"""Random first values of a frozen encoder's weights, unless others are copied there."""

import contextlib
import contextvars

import keras

_COPIED = contextvars.ContextVar("weights_are_copied", default=False)


@contextlib.contextmanager
def weights_are_copied():
    """Within it encoders are built of zeros; drawing takes a ViT-B seconds."""
    token = _COPIED.set(True)
    try:
        yield
    finally:
        _COPIED.reset(token)


def drawn(initializer="glorot_uniform"):
    """The initialiser, or `"zeros"` within `weights_are_copied`.

    It is made in both cases: with it Keras takes a seed, and what is drawn after the
    encoder stays the same.
    """
    initializer = keras.initializers.get(initializer)
    return "zeros" if _COPIED.get() else initializer
