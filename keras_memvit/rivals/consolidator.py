"""Consolidator: grouped connections beside every projection, merged when trained."""

from keras import ops

from keras_memvit.readouts.adapters.adapter import sizes
from keras_memvit.readouts.adapters.grouped import Grouped
from keras_memvit.rivals.changed_block import projection
from keras_memvit.rivals.merging import Merging
from keras_memvit.tasks.counts import as_count

_GROUPED = Grouped()


class Consolidator(Merging):
    """`x W + b + shuffle(x) blockdiag(w) + c` for all six projections of a block.

    The shuffle is of channels, `(g, n) -> (n, g)`; each of the `g` groups of `w` takes
    `n` of the shuffled channels. A sum over several `g` where several are given. All
    starts as zeros, and `c` is where the projection has a bias. `merged` adds it all
    to the weights.

    `L (12 D^2 / g + 9 D)` numbers and the head are trained, where the MLP is four
    times as wide and all have biases.

    The paper's code starts from uniform numbers below 1e-3 and drops branches at
    random in training, at a rate chosen for each data set; neither is here.

    Args:
        backbone, num_classes: see `Rival`.
        groups: int, or several, the `g`. Each must divide all widths of the
            projections. Defaults to `None`, half the width of a token.

    Reference:
        - [Hao et al., 2023](https://arxiv.org/abs/2305.00603)
    """

    def __init__(self, backbone, num_classes, groups=None):
        super().__init__(backbone, num_classes)
        groups = backbone.hidden_dim // 2 if groups is None else groups
        several = groups if isinstance(groups, (list, tuple)) else [groups]
        self.groups = [
            as_count(count, "Each of `groups`, the channel groups,")
            for count in several
        ]
        widths = sizes(backbone)
        for count in self.groups:
            if any(n % count for pair in widths.values() for n in pair):
                raise ValueError(
                    "`groups` must divide what each projection takes and gives, "
                    f"{widths}. Received: groups={groups}"
                )
        if not self.groups or len(set(self.groups)) < len(self.groups):
            raise ValueError(
                "`groups` must be an int or several different ones. "
                f"Received: groups={groups}"
            )

    def build(self, input_shape):
        backbone = self.backbone
        self.branches = []  # a dict a group size
        for count in self.groups:
            shapes = _GROUPED.shapes(backbone.hidden_dim // count, backbone)
            self.branches.append(
                {
                    name: self.add_weight(
                        name=f"{name.replace('/', '_')}_{count}",
                        shape=(backbone.num_layers, *shape),
                        initializer="zeros",
                        dtype="float32",
                    )
                    for name, (shape, _) in shapes.items()
                    if self._has(name)
                }
            )
        super().build(input_shape)

    def delta(self, layer, place, x):
        found = 0.0
        for branch in self.branches:
            kernel = ops.cast(branch[f"{place}/kernel"].value[layer], x.dtype)
            w = {f"{place}/kernel": kernel[None]}  # of one task
            found = found + _GROUPED.delta(w, place, x[:, None])[:, 0]
        return found

    def bias(self, layer, place):
        name = f"{place}/bias"
        own = [branch[name].value[layer] for branch in self.branches if name in branch]
        return sum(own) if own else None

    def _has(self, name):
        place, kind = name.split("/")
        return kind == "kernel" or projection(self.backbone.blocks[0], place).use_bias
