"""The pass that a store keeps: images to what every layer attends to."""

import keras
from keras import ops


class StatesEncoder(keras.Model):
    """Images to every layer's normed base tokens, `(B, L, T, D)`."""

    def __init__(self, backbone, dtype):
        super().__init__(name="states_encoder")
        self.backbone = backbone
        self.stored_dtype = "float32" if dtype == "int8" else dtype

    def call(self, images):
        states = [
            ops.cast(base.normed, self.stored_dtype)
            for _, base in self.backbone.base_layers(images)
        ]
        return ops.stack(states, axis=1)
