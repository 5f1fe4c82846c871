"""A linear head alone."""

from keras_memvit.rivals.rival import Rival


class Head(Rival):
    """A head on the frozen class token, or where there is none on the mean."""
