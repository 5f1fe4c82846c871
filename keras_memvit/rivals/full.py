"""Full fine-tuning."""

from keras_memvit.rivals.rival import Rival


class Full(Rival):
    """Head and backbone, every weight of it trained."""

    def build(self, input_shape):
        super().build(input_shape)
        self.train_backbone(lambda path: True)
