"""Training beside images that are not finite."""

from keras import ops


class FiniteLayers:
    """The base tokens layer by layer, zeros for images whose tokens are not finite.

    Where a base token of an image is NaN or infinite (the image was, or the encoder
    overflowed), tasks compute on zeros, and the image's logits are NaN afterwards: its
    loss says so, and no gradient of another image or task is touched.

    Args:
        layers: iterable of `(block, BaseStates)`.
    """

    def __init__(self, layers):
        self.layers = layers
        self.finite = True  # (B,) booleans, of the layers so far

    def __iter__(self):
        for block, base in self.layers:
            # One sum says it all: it is finite only if each of its terms is.
            total = ops.sum(ops.cast(base.normed, "float32"), axis=(1, 2))
            finite = ops.isfinite(total)  # (B,)
            base.normed = ops.where(
                finite[:, None, None], base.normed, ops.zeros_like(base.normed)
            )
            self.finite = ops.logical_and(self.finite, finite)
            yield block, base

    def nan_elsewhere(self, logits):
        """A dict of `(B, C)` with NaN for the images that were not finite."""
        return {
            name: ops.where(self.finite[:, None], value, float("nan"))
            for name, value in logits.items()
        }
