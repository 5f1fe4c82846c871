"""The attention that plots show is the one that is computed."""

import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec

pytest.importorskip("matplotlib")


@pytest.fixture
def model():
    specs = [
        TaskSpec("a", 3, 2),
        TaskSpec("reader", 4, 3, sees=["a"]),
        TaskSpec("b", 2, 9, readout="deep"),
    ]
    model = keras_memvit.build(make_backbone("registers"), specs)
    for seed, task in enumerate(model.task_layers.values()):
        randomize(task, seed + 10)
    return model


@pytest.mark.parametrize(
    "task, memory, seen", [("a", 2, 0), ("reader", 5, 1), ("b", 9, 0)]
)
def test_weights_of_a_task_are_one_softmax(model, images, task, memory, seen):
    weights = keras_memvit.plot.class_token_attention(model, images, task)
    tokens = model.backbone.num_patches + model.backbone.num_base_tokens
    sizes = {"base": tokens, "class_token": 1, "memory": memory}
    if seen:
        sizes["seen"] = seen
    assert {k: w.shape for k, w in weights.items()} == {
        name: (8, 2, 4, size) for name, size in sizes.items()
    }
    total = sum(w.sum(axis=-1) for w in weights.values())
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


def test_memory_that_matches_the_query_draws_attention(model, images):
    before = keras_memvit.plot.class_token_attention(model, images, "a")
    # A key with a large product with the query: attention goes one way or the other.
    memory = model.task_layers["a"].memory.memory
    changed = np.zeros(memory.shape, "float32")
    changed[0, 0] = 30.0 * np.sign(np.linspace(-1, 1, 32))
    memory.assign(changed)
    after = keras_memvit.plot.class_token_attention(model, images, "a")
    assert np.abs(after["memory"][:, 0] - before["memory"][:, 0]).max() > 1e-3
    for name in ("b", "reader"):
        other = keras_memvit.plot.class_token_attention(model, images, name)
        assert np.isfinite(other["base"]).all()


def test_pictures_are_written(model, images, tmp_path):
    figure = keras_memvit.plot.attention(model, images[0], "b", path=tmp_path / "a.png")
    titles = [ax.get_title() for ax in figure.axes]
    share = keras_memvit.plot.class_token_attention(model, images[:1], "b")["memory"]
    assert titles[1] == f"layer 1: memory {share[0, 0].sum(-1).mean():.0%}"
    keras_memvit.plot.attention_mask({"a": 2, "b": 2}, path=tmp_path / "mask.png")
    assert all((tmp_path / n).stat().st_size > 1000 for n in ("a.png", "mask.png"))


def test_an_unmasked_model_is_refused(images):
    model = keras_memvit.build(make_backbone(), {"a": 2}, attention="unmasked")
    with pytest.raises(ValueError, match="masked attention.*'unmasked'"):
        keras_memvit.plot.class_token_attention(model, images, "a")
