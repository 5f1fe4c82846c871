"""Zero-shot heads against the whole original, image and text tower."""

import keras
import keras_hub
import numpy as np
import pytest
from families import FAMILIES
from families import images_for
from families import normalized

import keras_memvit

NAMES = ["red fox", "dog", "cat"]
TEMPLATES = ["a photo of a {}", "the {}"]


class Letters:
    """Stands for KerasHub's preprocessors: a token a letter, an end, padding."""

    def __call__(self, x):
        assert len(x["images"]) == len(x["prompts"])
        ids = np.zeros((len(x["prompts"]), 8), "int32")
        for row, prompt in zip(ids, x["prompts"]):
            letters = [3 + ord(c) % 40 for c in prompt[-7:]]
            row[: len(letters)], row[len(letters)] = letters, 2
        return {"token_ids": ids}


def expected_logits(source, images, statistics, template):
    """By the original's own head."""
    prompts = [template.format(name) for name in NAMES]
    ids = Letters()({"images": prompts, "prompts": prompts})["token_ids"]
    inputs = {"images": normalized(images, statistics), "token_ids": ids}
    outputs = source({k: keras.ops.convert_to_tensor(v) for k, v in inputs.items()})
    return keras.ops.convert_to_numpy(outputs["vision_logits"])


@pytest.mark.parametrize("kind", ["CLIP", "MetaCLIP 2", "SigLIP"])
def test_one_template_gives_the_originals_logits(kind, tmp_path):
    make, statistics = FAMILIES[kind]
    source = make()
    head = keras_memvit.text_head(source, NAMES, "a {}", preprocessor=Letters())
    model = keras_memvit.build(source, {"a": 2}, classifier=head)
    images = images_for(source)
    expected = expected_logits(source, images, statistics, "a {}")
    found = model.predict(images, verbose=0)["base"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not head.trainable_variables
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0)["base"], found)


def test_templates_are_averaged_as_directions():
    source, statistics = FAMILIES["SigLIP"][0](), FAMILIES["SigLIP"][1]
    images = images_for(source)
    scale, bias = map(keras.ops.convert_to_numpy, source.siglip_head.weights)
    scale = np.exp(scale)
    cosines = [
        (expected_logits(source, images, statistics, t) - bias) / scale
        for t in TEMPLATES
    ]
    embeddings = [
        keras_memvit.text_head(source, NAMES, t, preprocessor=Letters()).kernel
        for t in TEMPLATES
    ]
    mean = sum(keras.ops.convert_to_numpy(e) for e in embeddings) / scale / 2
    length = np.linalg.norm(mean, axis=0)  # of the mean of two unit vectors
    head = keras_memvit.text_head(source, NAMES, TEMPLATES, preprocessor=Letters())
    model = keras_memvit.build(source, {"a": 2}, classifier=head)
    expected = scale * sum(cosines) / 2 / length + bias
    found = model.predict(images, verbose=0)["base"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_presets_own_tokenizer_is_taken(tmp_path):
    source = FAMILIES["CLIP"][0]()
    source.save_to_preset(str(tmp_path))
    words = ["a</w>", "dog</w>", "cat</w>", "a", "d", "o", "g", "c", "t"]
    words += ["do", "ca", "g</w>", "t</w>", "<|startoftext|>", "<|endoftext|>"]
    tokenizer = keras_hub.models.CLIPTokenizer(
        {word: i for i, word in enumerate(words)},
        ["d o", "do g</w>", "c a", "ca t</w>"],
    )
    preprocessor = keras_hub.models.CLIPPreprocessor(tokenizer, sequence_length=8)
    preprocessor.save_to_preset(str(tmp_path))
    found = keras_memvit.text_head(tmp_path, ["dog", "cat"], "a {}")
    expected = keras_memvit.text_head(
        source, ["dog", "cat"], "a {}", preprocessor=preprocessor
    )
    kernels = [keras.ops.convert_to_numpy(head.kernel) for head in (found, expected)]
    np.testing.assert_array_equal(*kernels)
    assert np.abs(kernels[0][:, 0] - kernels[0][:, 1]).max() > 1e-3


@pytest.mark.parametrize(
    "kind, names, templates, options, message",
    [
        ("DINOv3", NAMES, "{}", {"preprocessor": Letters()}, "whole with its text"),
        ("SigLIP encoder", NAMES, "{}", {"preprocessor": Letters()}, "whole with its"),
        ("SigLIP", NAMES, "{}", {}, "`preprocessor` must be given"),
        ("SigLIP", ["dog", "dog"], "{}", {}, "two or more distinct names.*dog"),
        ("SigLIP", NAMES, "a photo", {}, "`templates` must be strings with a `{}`"),
    ],
)
def test_misuse_is_named(kind, names, templates, options, message):
    with pytest.raises(ValueError, match=message):
        keras_memvit.text_head(FAMILIES[kind][0](), names, templates, **options)
