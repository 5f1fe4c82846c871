"""Fixtures: small backbones with weights of a realistic scale."""

import gc

import keras
import numpy as np
import pytest

import keras_memvit

VARIANTS = {
    "vit": {},
    "registers": {"num_register_tokens": 4, "use_layer_scale": True},
    "swiglu": {"activation": "swiglu", "use_layer_scale": True},
    "clip": {
        "activation": "quick_gelu",
        "use_pre_norm": True,
        "use_patch_bias": False,
        "layer_norm_epsilon": 1e-5,
    },
    "no_class_token": {"use_class_token": False, "use_qkv_bias": False},
    "gelu_tanh": {"activation": "gelu_tanh", "use_mlp_bias": False},
    "rotary": {
        "rotary_theta": 100.0,
        "use_position_embedding": False,
        "num_register_tokens": 2,
        "use_layer_scale": True,
        "use_qkv_bias": (True, False, True),
    },
}


def pytest_collection_modifyitems(items):
    """What knows no backend runs on one."""
    if keras.backend.backend() == "torch":
        return
    elsewhere = pytest.mark.skip(reason="knows no backend: runs on torch")
    for item in items:
        if item.get_closest_marker("backend_free"):
            item.add_marker(elsewhere)


def pytest_collection_finish():
    """Garbage is looked for among what tests make, not in all imported modules."""
    gc.collect()
    gc.freeze()


def randomize(model, seed=0):
    """Gives every weight a random value of the scale that training leaves."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" in weight.name or "position_ids" in weight.name:
            continue
        shape = tuple(weight.shape)
        if (
            len(shape) > 1
            and "token" not in weight.name
            and "embedding" not in weight.name
        ):
            value = rng.normal(0, 0.8 / np.sqrt(shape[0]), shape)
        else:
            mean = (
                1.0
                if any(n in weight.name for n in ("gamma", "scale", "lambda"))
                else 0.0
            )
            value = rng.normal(mean, 0.2, shape)
        weight.assign(value.astype("float32"))
    return model


def make_backbone(variant="vit", seed=0, **kwargs):
    """A 2-layer backbone of width 32 on 32 x 48 images: 6 patches."""
    config = {
        "image_shape": (32, 48, 3),
        "patch_size": 16,
        "num_layers": 2,
        "num_heads": 4,
        "hidden_dim": 32,
        "mlp_dim": 64,
        **VARIANTS[variant],
        **kwargs,
    }
    return randomize(keras_memvit.ViTBackbone(**config), seed)


def start_tasks(tasks, optimizer="auto", **kwargs):
    """A compiled model whose tasks start equal whatever other tasks there are."""
    model = keras_memvit.build(make_backbone(num_layers=1), tasks)
    for name, task in model.task_layers.items():
        rng = np.random.default_rng(ord(name))
        for variable in task.weights:
            variable.assign(rng.normal(0, 0.1, variable.shape))
    model.compile(optimizer=optimizer, **kwargs)
    return model


# Where a test needs no compiled step: JAX is the faster with one.
EAGER = keras.backend.backend() != "jax"


@pytest.fixture
def backbone():
    return make_backbone()


@pytest.fixture
def images():
    """Eight uint8 images for `make_backbone`."""
    return np.random.default_rng(1).integers(0, 256, (8, 32, 48, 3), dtype="uint8")


@pytest.fixture
def small_shards(monkeypatch):
    """Stores of `make_backbone`: three images a shard in float32, six in bfloat16."""
    from keras_memvit.states import writer

    monkeypatch.setattr(writer, "SHARD_BYTES", 3 * 2 * 7 * 32 * 4)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def softmax_shapes(model, images):
    """Shapes of all that is normalised by a softmax in one pass."""
    shapes = []
    softmax = keras.ops.softmax

    def spy(x, *args, **kwargs):
        shapes.append(tuple(x.shape))
        return softmax(x, *args, **kwargs)

    keras.ops.softmax = spy
    try:
        model(images)
    finally:
        keras.ops.softmax = softmax
    return shapes


def snapshot(weights):
    """Copies of weights, by path."""
    return {w.path: np.array(keras.ops.convert_to_numpy(w)) for w in weights}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hugging Face hub on loopback, in whose place nothing else is asked."""
    import huggingface_hub.constants as constants
    from fake_hub import FakeHub
    from fake_hub import serve

    hub = FakeHub()
    with serve(hub) as address:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield hub
