"""The readout of `keras_memvit.readouts.Readout`'s docstring, a stranger's."""

import dataclasses

import keras

import keras_memvit


@keras_memvit.readouts.register
@dataclasses.dataclass(frozen=True)
class MeanPatch(keras_memvit.readouts.Readout):
    """The mean of the last layer's patches."""

    name = "mean_patch"

    def num_features(self, backbone):
        return backbone.hidden_dim

    def step(self, tasks, layer, block, base, state):
        return base.normed

    def features(self, tasks, backbone, state):
        patches = state[:, backbone.num_base_tokens :]
        return [keras.ops.mean(patches, axis=1)] * len(tasks)
