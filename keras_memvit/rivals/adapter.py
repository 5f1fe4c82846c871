"""Adapters: bottlenecks behind or beside attention and MLP."""

import keras
from keras import ops

from keras_memvit.readouts.adapters.bottleneck import PLACES
from keras_memvit.readouts.adapters.bottleneck import Bottleneck
from keras_memvit.rivals.changed_block import changed_block
from keras_memvit.rivals.rival import Rival
from keras_memvit.rivals.rival import pooled
from keras_memvit.tasks.counts import as_count

PLACEMENTS = ("serial", "parallel")
_BOTTLENECK = Bottleneck()


class Adapter(Rival):
    """`y + gelu(z A + a) B + b` for what attention and the MLP of each layer give.

    `z` is `y` itself where the bottleneck is in series, and where it is parallel
    what attention or the MLP takes, the normed tokens. `B` and `b` start as zeros.
    As in PeterRec the norms are trained too.

    `2 L (2 r D + r + D)` numbers, the norms' `(4 L + 2) D` and the head are trained.

    PeterRec's code adds the input once more in its parallel form, which changes the
    frozen network before anything is learned; that residual is left out here.

    Args:
        backbone, num_classes: see `Rival`.
        rank: int `r`, the width of a bottleneck. Defaults to `8`.
        placement: `"serial"` or `"parallel"`. Defaults to `"serial"`.

    Reference:
        - [Yuan et al., 2020](https://arxiv.org/abs/2001.04253), PeterRec
        - [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751), in series
        - [Chen et al., 2022](https://arxiv.org/abs/2205.13535), in parallel
    """

    def __init__(self, backbone, num_classes, rank=8, placement="serial"):
        super().__init__(backbone, num_classes)
        if placement not in PLACEMENTS:
            raise ValueError(
                f"`placement` must be one of {PLACEMENTS}. "
                f"Received: placement={placement!r}"
            )
        self.rank = as_count(rank, "`rank` of the bottlenecks")
        self.placement = placement

    def build(self, input_shape):
        shapes = _BOTTLENECK.shapes(self.rank, self.backbone)
        self.patches = {
            name: self.add_weight(
                name=name.replace("/", "_"),
                shape=(self.backbone.num_layers, *shape),
                initializer=keras.initializers.RandomNormal(stddev=stddev)
                if stddev
                else "zeros",
                dtype="float32",
            )
            for name, (shape, stddev) in shapes.items()
        }
        super().build(input_shape)
        self.train_backbone(lambda path: False)
        for layer in self.backbone._flatten_layers():
            if isinstance(layer, keras.layers.LayerNormalization):
                for variable in layer.weights:
                    variable.trainable = True

    def features(self, images):
        x = self.backbone.embed(images)
        for i, block in enumerate(self.backbone.blocks):
            w = {
                name: ops.cast(patch.value[i], x.dtype)[None]  # of one task
                for name, patch in self.patches.items()
            }
            x = changed_block(block, x, self._change(w))
        return pooled(self.backbone.norm(x), self.backbone)

    def _change(self, w):
        def change(place, y, x):
            if place not in PLACES:
                return y
            read = y if self.placement == "serial" else x
            found = _BOTTLENECK.delta(w, place, read[:, None])[:, 0]
            return y + ops.cast(found + _BOTTLENECK.bias(w, place), y.dtype)

        return change
