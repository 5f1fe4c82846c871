"""`build`: parameter counts, the summary, regimes, sharing."""

import math
import types

import keras
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.task_weights import task_shapes

# The paper's ViT-B/32 at 224 px: L = 12, D = 768.
COUNTS = [  # cells, class token and memory (L m + 1) D, as PAPER arithmetic gives
    (1, 9_984),
    (5, 46_848),
    (10, 92_928),
    (20, 185_088),
]


@pytest.mark.parametrize("cells, expected", COUNTS)
def test_parameter_counts_of_the_paper(cells, expected):
    backbone = types.SimpleNamespace(num_layers=12, hidden_dim=768)
    shapes = task_shapes(TaskSpec("a", 100, cells), backbone)
    head = (768 + 1) * 100
    assert sum(math.prod(shape) for shape in shapes.values()) == expected + head


def test_the_papers_backbone_has_87_455_232_parameters():
    backbone = keras_memvit.ViTBackbone((224, 224, 3), 32, 12, 12, 768, 3072)
    assert backbone.count_params() == 87_455_232
    assert backbone.num_patches == 49


def test_model_counts_are_exact(backbone):
    specs = [TaskSpec("a", 3, 2), TaskSpec("b", 5, 7)]
    model = keras_memvit.build(backbone, specs)
    tasks = (1 + 2 * 2) * 32 + 33 * 3 + (1 + 2 * 7) * 32 + 33 * 5
    assert sum(math.prod(v.shape) for v in model.trainable_variables) == tasks
    assert model.count_params() == backbone.count_params() + tasks


def test_task_summary_says_tokens_parameters_share_and_sees(backbone):
    model = keras_memvit.build(
        backbone, [TaskSpec("a", 3, 2), TaskSpec("reader", 5, 7, sees=["a"])]
    )
    lines = []
    model.task_summary(print_fn=lines.append)
    header, _, first, second, last = lines[0].splitlines()
    assert header.split() == [
        "task",
        "classes",
        "readout",
        "tokens",
        "parameters",
        "of",
        "backbone",
        "trains",
        "sees",
    ]
    share = f"{259 / backbone.count_params():.3%}"
    assert first.split() == f"a 3 class_token 1 + 2 x 2 259 {share} yes -".split()
    assert second.split()[0] == "reader"
    assert second.split()[-1] == "a"
    assert f"{backbone.count_params():,} frozen" in last


def test_models_share_a_frozen_backbone_and_copy_a_trainable_one():
    backbone = make_backbone()
    assert keras_memvit.build(backbone, {"a": 2}).backbone is backbone
    assert keras_memvit.build(backbone, {"b": 2}).backbone is backbone
    backbone.trainable = True
    model = keras_memvit.build(backbone, {"c": 2})
    assert model.backbone is not backbone
    assert not model.backbone.trainable_variables
    assert backbone.trainable_variables
    assert model.backbone.fingerprint() == backbone.fingerprint()


def test_fingerprint_follows_weights_and_meaning_not_names():
    backbone = make_backbone()
    assert backbone.replicate(name="other").fingerprint() == backbone.fingerprint()
    assert make_backbone(seed=1).fingerprint() != backbone.fingerprint()
    assert backbone.replicate(image_mean=0.4).fingerprint() != backbone.fingerprint()
    other = backbone.replicate()
    other.norm.beta.assign(other.norm.beta + 1e-3)
    assert other.fingerprint() != backbone.fingerprint()


def test_unmasked_takes_one_task_and_says_why(backbone):
    with pytest.raises(ValueError, match="takes one task.*use 'masked'"):
        keras_memvit.build(backbone, {"a": 2, "b": 2}, attention="unmasked")
    deep = keras_memvit.TaskSpec("a", 2, readout="deep")
    with pytest.raises(ValueError, match=r"readout='deep'.*'masked'.*\['a'\]"):
        keras_memvit.build(backbone, deep, attention="unmasked")
    with pytest.raises(ValueError, match="attention='causal'"):
        keras_memvit.build(backbone, {"a": 2}, attention="causal")


def test_a_model_is_a_keras_model_that_others_can_build_on(backbone, images):
    model = keras_memvit.build(backbone, {"a": 2})
    probabilities = keras.layers.Softmax()(model.output["a"])
    classifier = keras.Model(model.input, probabilities)
    assert classifier.predict(images, verbose=0).sum() == pytest.approx(8, rel=1e-5)
