"""Memory that runs through the encoder and is updated in every layer."""

from keras_memvit.rivals.propagated import Propagated


class PropagatedUpdate(Propagated):
    """`Propagated`, and every later layer adds a learned update to the memory.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), figure 2b
    """

    def num_memories(self):
        return self.backbone.num_layers
