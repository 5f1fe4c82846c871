"""Low-rank updates of the attention's projections."""

from keras_memvit.rivals.rival import Rival


class LoRA(Rival):
    """`W + A B` in place of query and value projections, by Keras' `enable_lora`.

    Args:
        backbone, num_classes: see `Rival`.
        rank: int. The rank of `A B`.

    Reference:
        - [Hu et al., 2021](https://arxiv.org/abs/2106.09685)
    """

    def __init__(self, backbone, num_classes, rank):
        super().__init__(backbone, num_classes)
        self.rank = rank

    def build(self, input_shape):
        super().build(input_shape)
        for block in self.backbone.blocks:
            for projection in (block.attention.query, block.attention.value):
                projection.enable_lora(self.rank)
        self.train_backbone(lambda path: "lora" in path)
