"""A readout as a user may write it on torch: it branches on what it computes."""

import dataclasses

import keras

from keras_memvit import readouts


@readouts.register
@dataclasses.dataclass(frozen=True)
class ScaledPatch(readouts.Readout):
    """The mean patch of the last layer, its largest feature 1 unless all are 0."""

    name = "scaled_patch"

    def num_features(self, backbone):
        return backbone.hidden_dim

    def start(self, tasks, backbone, batch):
        return None

    def step(self, tasks, layer, block, base, state):
        return base.normed

    def features(self, tasks, backbone, state):
        patches = keras.ops.cast(state[:, backbone.num_base_tokens :], "float32")
        mean = keras.ops.mean(patches, axis=1)
        largest = keras.ops.max(keras.ops.abs(mean))
        if largest > 0:
            mean = mean / largest
        return [mean for _ in tasks]
