"""Training beside images that are not finite."""

import keras
from keras import ops


class FiniteImages:
    """Which images of a batch are finite in all layers; zeros in place of the others.

    Where a base token of an image is NaN or infinite (the image was, or the encoder
    overflowed), tasks compute on zeros, and the image's logits are NaN afterwards: its
    loss says so, and no gradient of another image or task is touched.
    """

    def __init__(self):
        self.finite = True  # (B,) booleans, of the layers so far

    def cleaned(self, x):
        """A layer's tokens `(B, T, D)`, zeros where they are not all finite."""
        # One sum says it all: it is finite only if each of its terms is.
        wide = keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float32")
        total = ops.sum(x if wide else ops.cast(x, "float32"), axis=(1, 2))
        finite = ops.isfinite(total)  # (B,)
        self.finite = ops.logical_and(self.finite, finite)
        return ops.where(finite[:, None, None], x, ops.zeros((), x.dtype))

    def cast(self, x, dtype):
        """The same of stored tokens, as `ops.cast` gives them.

        bfloat16 is looked at before, in half the bytes, but for float16, which ends
        earlier: there what is finite may not be so any more.
        """
        stored = keras.backend.standardize_dtype(x.dtype)
        if stored == "bfloat16" and dtype != "float16":
            return ops.cast(self.cleaned(x), dtype)
        return self.cleaned(ops.cast(x, dtype))

    def layers(self, layers):
        """The same of `(block, BaseStates)` as they go by."""
        for block, base in layers:
            base.normed = self.cleaned(base.normed)
            yield block, base

    def nan_elsewhere(self, logits):
        """A dict of `(B, C)` with NaN for the images that were not finite."""
        return {
            name: ops.where(self.finite[:, None], value, float("nan"))
            for name, value in logits.items()
        }
