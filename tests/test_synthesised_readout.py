"""The synthesised readout: what it is without synthesis, and the size of its file."""

import keras
import numpy as np
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import readouts

READOUT = readouts.Synthesised(num_query_tokens=3, rank=2)


def made(readout=READOUT, backbone=None):
    backbone = backbone or make_backbone()
    model = keras_memvit.build(backbone, [TaskSpec("a", 3, 2, readout=readout)])
    return randomize(model.task_layers["a"], 3), backbone


def run(readout, task, backbone, states, weights=None):
    """The readout's state behind the last layer of stored states."""
    own = [readouts.Task(task.spec, weights or task.task().weights)]
    state = readout.start(own, backbone, len(states))
    layers = backbone.stored_layers(keras.ops.convert_to_tensor(states))
    for i, (block, base) in enumerate(layers):
        state = readout.step(own, i, block, base, state)
    return state, keras.ops.convert_to_numpy(readout.features(own, backbone, state)[0])


def states_of(backbone):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, *backbone.state_shape)).astype("float32")


def test_without_synthesis_it_finds_what_deep_queries_find():
    """Nothing passed on and no map: the deep readout's values, projected out."""
    task, backbone = made()
    states = states_of(backbone)
    named = task.variables_by_name
    named["synthesis/scale"].assign(-np.ones(1))
    named["synthesis/up"].assign(np.zeros(named["synthesis/up"].shape))
    state, _ = run(READOUT, task, backbone, states)
    queries = []
    for block, own in zip(backbone.blocks, task.task().weights["synthesis/queries"]):
        query = block.attention.query(block.norm1(own[None]))[0]
        queries.append(query / block.attention.head_dim**0.5)
    deep = readouts.Deep(num_query_tokens=3)
    weights = {"queries": keras.ops.stack(queries)}
    deep_state, _ = run(deep, task, backbone, states, weights)
    for i, block in enumerate(backbone.blocks):
        found = block.attention.output_projection(deep_state[1][i])
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(state.rows[3 * i + 1][:, 0]),
            keras.ops.convert_to_numpy(keras.ops.mean(found, axis=1)),
            atol=1e-5,
        )


def test_the_order_of_queries_does_not_matter():
    task, backbone = made()
    states = states_of(backbone)
    _, before = run(READOUT, task, backbone, states)
    queries = task.variables_by_name["synthesis/queries"]
    queries.assign(keras.ops.convert_to_numpy(queries)[:, [2, 0, 1]])
    _, after = run(READOUT, task, backbone, states)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_layer_builds_on_what_the_last_one_found():
    """First-layer states in another image: the last layer asks otherwise."""
    task, backbone = made()
    states = states_of(backbone)
    changed = states.copy()
    changed[:, 0] += 1.0 + np.arange(32) / 32
    (a, _), (b, _) = (run(READOUT, task, backbone, x) for x in (states, changed))
    last = [keras.ops.convert_to_numpy(state.rows[-2]) for state in (a, b)]
    assert np.abs(last[0] - last[1]).max() > 1e-3


def test_a_backbone_of_one_layer_has_no_scale():
    task, backbone = made(backbone=make_backbone(num_layers=1))
    assert "synthesis/scale" not in task.variables_by_name
    _, features = run(READOUT, task, backbone, states_of(backbone))
    assert features.shape == (2, 32) and np.isfinite(features).all()


def test_a_task_of_a_hundred_classes_stays_small(tmp_path):
    """What docs/readouts.md says of a ViT-S, beside the other readouts."""
    backbone = keras_memvit.ViTBackbone(
        image_shape=(98, 98, 3),
        patch_size=14,
        num_layers=12,
        num_heads=6,
        hidden_dim=384,
        mlp_dim=1536,
    )
    names = ["class_token", "deep", "side", "synthesised"]
    specs = [TaskSpec(name, 100, readout=name) for name in names]
    model = keras_memvit.build(backbone, specs)
    counts = [model.task_layers[name].count_params() for name in names]
    assert counts == [61_924, 527_332, 159_028, 198_675]
    path = tmp_path / "synthesised.safetensors"
    keras_memvit.save_task(model, "synthesised", path)
    assert path.stat().st_size < 4 * counts[-1] + 4096
