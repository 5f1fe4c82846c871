"""Memory that runs through the encoder as any token: the paper's losing variant."""

import keras
from keras import ops

from keras_memvit.rivals.head_class import HeadClass
from keras_memvit.rivals.head_class import for_all


class Propagated(HeadClass):
    """Memory tokens that enter the first layer, beside a new class token.

    Args:
        backbone, num_classes: see `Rival`.
        num_memory_tokens: int.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), figure 2b
    """

    def __init__(self, backbone, num_classes, num_memory_tokens):
        super().__init__(backbone, num_classes)
        self.num_memory_tokens = num_memory_tokens

    def num_memories(self):
        """The first layer's memory, and what later layers add to it."""
        return 1

    def build(self, input_shape):
        shape = (self.num_memory_tokens, self.backbone.hidden_dim)
        self.memory = self.add_weight(
            name="memory",
            shape=(self.num_memories(), *shape),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype="float32",
        )
        super().build(input_shape)

    def enter(self, layer, x):
        if layer >= self.num_memories():
            return x
        memory = for_all(self.memory.value[layer], x)
        end = 1
        if layer:
            end += self.num_memory_tokens
            memory = x[:, 1:end] + memory
        # The patches stay last: their positions may be rotary.
        return ops.concatenate([x[:, :1], memory, x[:, end:]], axis=1)
