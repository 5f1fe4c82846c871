"""A task's tensors while a policy weighs its parts."""

from keras import ops

from keras_memvit.models.parts_policy import PartsPolicy
from keras_memvit.models.task_weights import TaskWeights


class GatedWeights(TaskWeights):
    """`TaskWeights` of a `GatedSpec`: readouts and head take what its gates let pass.

    Args: as of `TaskWeights`.
    """

    def __init__(self, spec, backbone, *args, **kwargs):
        super().__init__(spec, backbone, *args, **kwargs)
        self.policy = PartsPolicy(spec, backbone, name="policy")

    def build(self, input_shape=None):
        super().build(input_shape)
        self.policy.build()

    def tensors(self):
        return self.policy.gate(super().tensors(), self.parameters)

    def call(self, features):
        features = ops.cast(features, "float32")
        return super().call(self.policy.gate_inputs(features))
