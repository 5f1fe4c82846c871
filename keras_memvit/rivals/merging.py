"""Rivals whose change of a projection can be merged into its weights."""

from keras import ops

from keras_memvit.rivals.changed_block import PROJECTIONS
from keras_memvit.rivals.changed_block import changed_block
from keras_memvit.rivals.changed_block import projection
from keras_memvit.rivals.plain import plain
from keras_memvit.rivals.rival import Rival
from keras_memvit.rivals.rival import pooled


class Merging(Rival):
    """`x W + b + delta(x) + bias` in place of projections `x W + b`.

    A method is a subclass that says what `delta`, linear in `x`, and `bias` are.
    """

    def delta(self, layer, place, x):
        """What is added to what a projection gives: (B, T, V) -> (B, T, W), or None."""
        raise NotImplementedError(f"{type(self).__name__} must have `delta`")

    def bias(self, layer, place):
        """What is added to a projection's bias, `(W,)`, or None."""
        return None

    def features(self, images):
        x = self.backbone.embed(images)
        for i, block in enumerate(self.backbone.blocks):
            x = changed_block(block, x, self._change(i))
        return pooled(self.backbone.norm(x), self.backbone)

    def merged(self):
        """A plain model with the changes in its weights: the same answers, no cost.

        Returns:
            A `keras.Model` as of `baseline(backbone, num_classes, "head")`.
        """
        model = plain(self)
        for i, block in enumerate(model.backbone.blocks):
            for place in PROJECTIONS:
                layer = projection(block, place)
                rows = ops.eye(layer.kernel.shape[0], dtype="float32")
                delta, bias = self.delta(i, place, rows[None]), self.bias(i, place)
                if delta is not None:
                    layer.kernel.assign(layer.kernel.value + delta[0])
                if bias is not None:
                    layer.bias.assign(layer.bias.value + bias)
        return model

    def _change(self, layer):
        def change(place, y, x):
            if place not in PROJECTIONS:
                return y
            delta, bias = self.delta(layer, place, x), self.bias(layer, place)
            for term in (delta, bias):
                y = y if term is None else y + ops.cast(term, y.dtype)
            return y

        return change
