"""The fast path against the dense definition."""

import keras
import numpy as np
import pytest
from conftest import VARIANTS
from conftest import make_backbone
from conftest import randomize
from conftest import softmax_shapes
from reference import dense_forward
from reference import unmasked_forward

import keras_memvit
from keras_memvit import TaskSpec

LAYOUTS = {
    "one task": [TaskSpec("a", 3, 4)],
    "independent, equal memory": [TaskSpec(n, 3, 2) for n in "abcd"],
    "independent, unequal memory": [
        TaskSpec("a", 3, 1),
        TaskSpec("b", 2, 9),
        TaskSpec("c", 5, 3),
        TaskSpec("d", 5, 4),
    ],
    "a chain": [
        TaskSpec("a", 3, 2),
        TaskSpec("b", 2, 3, sees=["a"]),
        TaskSpec("c", 2, 1, sees=["b"]),
    ],
    "a reader listed first, and bystanders": [
        TaskSpec("reader", 2, 5, sees=["c", "a"]),
        TaskSpec("a", 3, 2),
        TaskSpec("b", 2, 3),
        TaskSpec("c", 2, 1, sees=["a"]),
        TaskSpec("late", 2, 1, sees=["b"]),
    ],
    "memory behind the norm for some": [
        TaskSpec("a", 3, 2, memory_norm=False),
        TaskSpec("b", 2, 3),
    ],
    "one deep readout": [TaskSpec("a", 3, 4, readout="deep")],
    "deep readouts among others": [
        TaskSpec("a", 3, 2, readout="deep", num_query_tokens=3),
        TaskSpec("b", 2, 3),
        TaskSpec("c", 2, 1, readout="deep", sees=["a"]),
    ],
    "memory behind the norm for all": [TaskSpec("a", 3, 2, memory_norm=False)],
}


def build(backbone, specs, **kwargs):
    model = keras_memvit.build(backbone, specs, **kwargs)
    for seed, task in enumerate(model.task_layers.values()):
        randomize(task, seed + 10)
    return model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_equals_the_dense_mask(layout, images):
    model = build(make_backbone(), LAYOUTS[layout])
    expected, _ = dense_forward(model, images)
    logits = model.predict(images, verbose=0)
    assert set(logits) == {spec.name for spec in LAYOUTS[layout]}
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_backbone_equals_the_dense_mask(variant, images):
    model = build(make_backbone(variant), LAYOUTS["deep readouts among others"])
    expected, tokens = dense_forward(model, images)
    logits = model.predict(images, verbose=0)
    for name in expected:
        np.testing.assert_allclose(logits[name], expected[name], atol=1e-4)
    np.testing.assert_allclose(
        model.backbone.predict(images, verbose=0), tokens, atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("variant", ["vit", "registers", "no_class_token", "rotary"])
def test_few_tasks_among_many_tokens_equal_the_dense_mask(variant, dtype):
    """Here the queries are projected back, rather than the base tokens forward."""
    images = np.random.default_rng(1).integers(0, 256, (4, 64, 80, 3), dtype="uint8")
    specs = [TaskSpec("a", 3, 2), TaskSpec("b", 2, 5, sees=["a"], memory_norm=False)]
    backbone = make_backbone(variant, image_shape=(64, 80, 3))
    model = build(backbone, specs, dtype=dtype)
    expected, _ = dense_forward(model, images)
    logits = model.predict(images, verbose=0)
    for name in expected:
        atol = 1e-4 if dtype == "float32" else 0.1
        np.testing.assert_allclose(logits[name], expected[name], atol=atol)


@pytest.mark.parametrize("variant", ["vit", "registers", "no_class_token", "rotary"])
def test_unmasked_equals_its_definition(variant, images):
    model = build(make_backbone(variant), {"a": 3}, attention="unmasked")
    logits = model.predict(images, verbose=0)
    np.testing.assert_allclose(logits["a"], unmasked_forward(model, images), atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_tokens_stay_in_half_precision_beside_tasks(variant, images):
    model = build(make_backbone(variant, dtype="mixed_bfloat16"), {"a": 3})
    assert model.verify_unchanged(images)["base"] == 0.0
    for _, base in model.backbone.base_layers(keras.ops.convert_to_tensor(images)):
        assert keras.backend.standardize_dtype(base.output().dtype) == "bfloat16"


def test_many_tasks_form_no_quadratic_scores(backbone, images):
    """100 tasks: no tensor of (tasks x all memory) is ever made."""
    model = build(backbone, {f"t{i}": 2 for i in range(100)}, num_memory_tokens=3)
    shapes = softmax_shapes(model, images)
    tokens = backbone.num_base_tokens + backbone.num_patches
    task_scores = [shape for shape in shapes if shape[2] == 100]
    assert len(task_scores) == backbone.num_layers
    assert {shape[3] for shape in task_scores} == {tokens + 1 + 3}
