"""The side readout: the size of its file, and what knows where a token is."""

import keras
import numpy as np
from conftest import make_backbone

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import readouts

SMALL = {"image_shape": (98, 98, 3), "patch_size": 14, "num_layers": 12}


def test_a_task_of_ten_classes_takes_less_than_500_kb(tmp_path):
    backbone = keras_memvit.ViTBackbone(
        **SMALL, num_heads=6, hidden_dim=384, mlp_dim=1536
    )
    model = keras_memvit.build(backbone, {"a": 10}, readout="side")
    assert model.task_layers["a"].count_params() == 121_498
    keras_memvit.save_task(model, "a", tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < 500_000


def test_the_convolution_knows_where_a_token_is():
    """Patches in another order: another answer, and the same without its kernels."""
    backbone = make_backbone()
    model = keras_memvit.build(
        backbone, [TaskSpec("a", 3, 2, readout=readouts.Side(rank=4))]
    )
    task = model.task_layers["a"]
    rng = np.random.default_rng(0)
    for name, variable in task.variables_by_name.items():
        if name.startswith("side/"):
            variable.assign(rng.normal(size=variable.shape))
    patches = rng.normal(size=(1, 2, 6, 32)).astype("float32")
    token = rng.normal(size=(1, 2, 1, 32)).astype("float32")

    def features(order):
        states = np.concatenate([token, patches[:, :, order]], axis=2)
        layers = backbone.stored_layers(keras.ops.convert_to_tensor(states))
        own, readout = [task.task()], model.specs[0].readout
        state = readout.start(own, backbone, 1)
        for i, (block, base) in enumerate(layers):
            state = readout.step(own, i, block, base, state)
        (found,) = readout.features(own, backbone, state)
        return keras.ops.convert_to_numpy(found)

    order = rng.permutation(6)
    assert np.abs(features(order) - features(np.arange(6))).max() > 1e-3
    kernel = task.variables_by_name["side/convolution"]
    kernel.assign(np.zeros(kernel.shape, "float32"))
    np.testing.assert_allclose(features(order), features(np.arange(6)), atol=1e-5)
