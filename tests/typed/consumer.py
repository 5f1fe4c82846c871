"""The public API as a type checker sees it; `bash scripts/types.sh` checks this file.

What is wrong on purpose says `type: ignore`, and one that is not needed is an error.
"""

import pathlib
from typing import Any
from typing import assert_type

import numpy as np

import keras_memvit
from keras_memvit import data
from keras_memvit import layers
from keras_memvit import plot
from keras_memvit import readouts
from keras_memvit import recipes
from keras_memvit import report


def models(model: keras_memvit.MemoryViT, images: np.ndarray) -> None:
    backbone = keras_memvit.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=16,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
    )
    spec = keras_memvit.TaskSpec(
        "count", 8, sees=["digits"], readout=readouts.Side(rank=8)
    )
    keras_memvit.build(backbone, {"digits": 10}, num_memory_tokens=5, readout="deep")
    keras_memvit.build("vit_base", [spec], image_shape=(98, 98, 3))
    assert_type(keras_memvit.concatenate([model, model]), keras_memvit.MemoryViT)
    assert_type(keras_memvit.extend(model, [spec]), keras_memvit.MemoryViT)
    keras_memvit.extend(model, [spec], sees=["digits"], sees_budget=0.25)
    assert_type(keras_memvit.select(model, "digits"), keras_memvit.MemoryViT)
    assert_type(keras_memvit.attention_mask({"digits": 10}, 4), np.ndarray)
    keras_memvit.shrink(model, "digits", keep=0.3, data=(images, images))
    keras_memvit.unify(model, {"digits": (images, images)}, method="ridge")
    keras_memvit.unify(model, num_random_features="many")  # type: ignore[arg-type]
    keras_memvit.TaskSpec("digits", "ten")  # type: ignore[arg-type]
    keras_memvit.TaskSpec("digits", 10, memory=5)  # type: ignore[call-arg]
    keras_memvit.build(backbone, 10)  # type: ignore[arg-type]
    keras_memvit.build(backbone, {"digits": 10}, memory=5)  # type: ignore[call-arg]


def files(model: keras_memvit.MemoryViT) -> None:
    keras_memvit.save_task(model, "digits", pathlib.Path("digits.safetensors"))
    keras_memvit.load_task(model, ["digits.safetensors", pathlib.Path("faces")])
    keras_memvit.inspect("digits.safetensors", print_fn=print)
    assert_type(keras_memvit.push_task("digits.safetensors", "user/digits"), str)
    assert_type(keras_memvit.export_onnx(model, "a.onnx"), pathlib.Path)
    assert_type(keras_memvit.export_saved_model(model, "a/1"), pathlib.Path)
    keras_memvit.load_model("people.keras", compile=False)
    keras_memvit.save_task(model, 3, "three.safetensors")  # type: ignore[arg-type]
    keras_memvit.load_model("people.keras", False)  # type: ignore[call-arg]


def data_and_recipes(backbone: keras_memvit.ViTBackbone, images: np.ndarray) -> None:
    found = data.load("photos", image_size=(32, 32), kind={"age": "regression"})
    assert_type(found, data.LabelledImages)
    assert_type(found.tasks, list[keras_memvit.TaskSpec])
    assert_type(data.check((images, [0, 1])), data.DataCheck)
    assert_type(data.mix({"digits": (images, images)}), data.TaskMixture)
    store = keras_memvit.precompute(backbone, images, "states", process=(0, 4))
    assert_type(store, keras_memvit.StateStore | None)
    learned = recipes.learn("photos", backbone, budget="200kB", output="birds")
    assert_type(learned, recipes.LearnResult)
    assert_type(learned.val_score, float | None)
    assert_type(report.write(learned, "birds.html"), pathlib.Path)
    swept = recipes.sweep(backbone, {"digits": 10}, store, store, seeds=(0, 1))
    assert_type(swept, recipes.SweepResult)
    recipes.Candidate("side", learning_rate=None)
    recipes.WarmupCosine(0.1, total_steps=100)
    recipes.TaskEarlyStopping(patience=3, mode="max")
    data.load("photos", image_size="large")  # type: ignore[arg-type]
    recipes.TaskEarlyStopping(patience="long")  # type: ignore[arg-type]


def parts(model: keras_memvit.MemoryViT, images: np.ndarray) -> None:
    @readouts.register
    class Mine(readouts.Readout):
        name = "mine"

        def num_features(self, backbone: keras_memvit.ViTBackbone) -> int:
            return 1

    assert_type(Mine(), Mine)
    assert_type(readouts.Deep(num_query_tokens=4).num_query_tokens, int)
    assert_type(readouts.known_readouts(), dict[str, type])
    shares = plot.class_token_attention(model, images, "digits")
    assert_type(shares, dict[str, np.ndarray])
    plot.attention(model, images[0], "digits", path="attention.png")
    layer: Any = layers.EncoderBlock(num_heads=4, mlp_dim=64, activation="swiglu")
    layers.MaskedMHA(num_heads=6, use_qkv_bias=(True, False, True))
    layers.MLP("wide")  # type: ignore[arg-type]
    readouts.Side(rank="wide")  # type: ignore[arg-type]
    del layer
