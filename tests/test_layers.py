"""Each layer by itself: its equation, its config, its weights."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import layers
from keras_memvit.layers.base_states import BaseStates
from keras_memvit.models.encoder import TwoStreamEncoder
from keras_memvit.models.task_weights import TaskWeights

LAYERS = {
    "MemoryTokens": (lambda: layers.MemoryTokens(3), (2, 5, 8)),
    "MaskedMHA": (lambda: layers.MaskedMHA(2, use_qkv_bias=False), (2, 5, 8)),
    "EncoderBlock": (
        lambda: layers.EncoderBlock(2, 16, activation="swiglu", use_layer_scale=True),
        (2, 5, 8),
    ),
    "MLP": (lambda: layers.MLP(16, "quick_gelu", use_bias=False), (2, 5, 8)),
    "PatchEmbedding": (
        lambda: layers.PatchEmbedding((8, 12, 3), 4, 8, num_register_tokens=2),
        (2, 8, 12, 3),
    ),
    "ImageNormalization": (
        lambda: layers.ImageNormalization(0.5, [0.1, 0.2, 0.3]),
        (2, 8, 12, 3),
    ),
    "AttentionPooling": (lambda: layers.AttentionPooling(2, 16), (2, 5, 8)),
    "BaseClassifier without logits": (
        lambda: layers.BaseClassifier(
            8, layers.AttentionPooling(2, 16), use_logits=False
        ),
        (2, 5, 8),
    ),
    "TextClassifier": (
        lambda: layers.TextClassifier(4, layers.BaseClassifier(6, use_bias=False)),
        (2, 5, 8),
    ),
    "BaseClassifier": (lambda: layers.BaseClassifier(4, "gap", 6), (2, 5, 8)),
}


def test_every_public_layer_is_covered():
    assert {name.split()[0] for name in LAYERS} == set(layers.__all__)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_config_round_trip_and_output_shape(name, dtype):
    make, shape = LAYERS[name]
    layer = make()
    layer.dtype_policy = dtype
    config = {**layer.get_config(), "dtype": dtype}
    layer = type(layer).from_config(config)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = layer(x)
    assert tuple(y.shape) == layer.compute_output_shape(shape)
    rebuilt = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    rebuilt(x)
    rebuilt.set_weights(layer.get_weights())
    assert rebuilt.get_config() == layer.get_config()
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(keras.ops.cast(rebuilt(x), "float32")),
        keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")),
    )


def test_encoder_config_round_trip(backbone, images):
    encoder = TwoStreamEncoder(
        backbone, [TaskSpec("a", 2), TaskSpec("b", 3, sees=["a"])]
    )
    x = images.astype("float32")
    expected = encoder(x)
    rebuilt = TwoStreamEncoder.from_config(encoder.get_config())
    rebuilt(x)
    rebuilt.set_weights(encoder.get_weights())
    for name, logits in rebuilt(x).items():
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(logits),
            keras.ops.convert_to_numpy(expected[name]),
        )


def test_memory_tokens_append_their_memory_to_every_example():
    layer = layers.MemoryTokens(3)
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    y = keras.ops.convert_to_numpy(layer(x))
    memory = keras.ops.convert_to_numpy(layer.memory)
    np.testing.assert_array_equal(y[:, :5], x)
    np.testing.assert_array_equal(y[:, 5:], np.stack([memory, memory]))


def test_memory_of_all_layers_is_one_weight():
    layer = layers.MemoryTokens(3, num_layers=4)
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    y = keras.ops.convert_to_numpy(layer(x, layer=2))
    memory = keras.ops.convert_to_numpy(layer.memory)
    assert memory.shape == (4, 3, 8)
    np.testing.assert_array_equal(y[:, 5:], np.stack([memory[2], memory[2]]))


def test_memory_is_drawn_from_a_normal_distribution_of_0_02():
    layer = layers.MemoryTokens(200)
    layer.build((None, None, 200))
    memory = keras.ops.convert_to_numpy(layer.memory)
    assert abs(memory.std() - 0.02) < 5e-4
    assert abs(memory.mean()) < 5e-4


def test_a_task_starts_as_its_seed_says():
    def started(seed):
        backbone = make_backbone(hidden_dim=64)
        spec = TaskSpec("a", 4, 50, readout="deep", num_query_tokens=50)
        task = TaskWeights(spec, backbone)
        task.build()
        task.start(seed)
        names = ("memory", "head/kernel", "queries")
        return [task.arrays()[name] for name in names]

    stddevs = (0.02, 0.02, 0.125)
    for value, again, other, stddev in zip(*map(started, (1, 1, 2)), stddevs):
        np.testing.assert_array_equal(value, again)
        assert np.abs(value - other).max() > stddev
        np.testing.assert_allclose(value.std(), stddev, rtol=0.2)


def test_masked_mha_equals_keras_attention_on_the_base_stream():
    ours = layers.MaskedMHA(2)
    theirs = keras.layers.MultiHeadAttention(2, 4)
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    ours(x), theirs(x, x)
    from keras_memvit.backbones.weights import copy_attention

    copy_attention(ours, theirs)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(x)),
        keras.ops.convert_to_numpy(theirs(x, x)),
        atol=1e-6,
    )


@pytest.mark.parametrize("shared", [True, False])
def test_a_few_queries_are_projected_back_and_find_the_same(shared):
    """Of a store, where nobody else makes keys and values, so are more of them."""
    backbone = make_backbone(num_layers=1)
    block = backbone.blocks[0]
    x = np.random.default_rng(0).normal(size=(2, 9, 32)).astype("float32")
    shape = (2, 4, 8) if shared else (2, 2, 4, 8)
    query = np.random.default_rng(1).normal(size=shape).astype("float32")

    def found(**options):
        base = BaseStates(block, x, **options)
        weights = keras.ops.softmax(base.scores(query))
        return base.projects_queries_back, (weights, base.mean(weights))

    back, ours = found(num_queries=2)
    from_images, _ = found(num_queries=2, x=x)
    plain, reference = found()
    assert back and not plain and not from_images and not found(num_queries=99)[0]
    for a, b in zip(ours, reference):
        a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_new_class_tokens_start_from_the_pretrained_one(backbone):
    model = keras_memvit.build(backbone, {"a": 2, "b": 3})
    pretrained = keras.ops.convert_to_numpy(backbone.patch_embedding.class_token)[0]
    for task in model.task_layers.values():
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(task.class_token), pretrained
        )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.MemoryTokens(0), "num_memory_tokens=0"),
        (lambda: layers.MemoryTokens(2, num_layers=0), "num_layers=0"),
        (
            lambda: layers.MemoryTokens(2, num_layers=3)(np.ones((1, 2, 8), "float32")),
            "layer=None, num_layers=3",
        ),
        (lambda: layers.MLP(8, "selu"), "'gelu_tanh'.*activation='selu'"),
        (lambda: layers.BaseClassifier(3, "avg"), "pooling='avg'"),
        (lambda: layers.ImageNormalization(0.5, 0.0), "`std` must be positive"),
        (lambda: layers.ImageNormalization(float("nan"), 0.5), "`mean` must be finite"),
        (lambda: layers.MaskedMHA(16)(np.ones((1, 2, 8), "float32")), "num_heads=16"),
    ],
)
def test_bad_layer_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
