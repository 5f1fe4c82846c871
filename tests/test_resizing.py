"""How a preset resizes images is how tasks learned on it do, in training and served."""

import base64
import io
import json

import keras
import keras_hub
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from PIL import Image
from server_client import Client

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.backbones.convert import convert
from keras_memvit.cli.picture_files import batches
from keras_memvit.data.crops import resize
from keras_memvit.tasks.resizing import RESIZINGS

ONCE = pytest.mark.backend_free
SIZES = [(60, 200), (200, 60), (33, 48), (20, 90), (7, 9), (32, 48), (500, 3)]


def picture(height, width, seed=0):
    """A picture, uint8 `(h, w, 3)`, of which no interpolation leaves [0, 255]."""
    coarse = np.random.default_rng(seed).integers(70, 190, (16, 20, 3), dtype="uint8")
    how = ((width, height), Image.Resampling.BICUBIC)
    return np.asarray(Image.fromarray(coarse).resize(*how))


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def arguments(resizing):
    """What KerasHub's converters call it."""
    interpolation, _, crop = resizing.partition("_")
    return {"interpolation": interpolation, "crop_to_aspect_ratio": bool(crop)}


def preset(folder, **options):
    """A preset's folder, with an image converter of these options."""
    source = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 16, 32)
    randomize(source).save_to_preset(str(folder))
    options = {"image_size": (32, 32), "scale": 1 / 127.5, "offset": -1.0, **options}
    keras_hub.layers.ViTImageConverter(**options).save_to_preset(str(folder))
    return folder


@ONCE
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("resizing", RESIZINGS)
def test_a_picture_is_resized_as_by_keras_hubs_converter(resizing, size):
    pixels = picture(*size)
    converter = keras_hub.layers.ImageConverter(
        (32, 48), antialias=True, **arguments(resizing)
    )
    theirs = np.asarray(converter(pixels.astype("float32")[None])[0]).clip(0, 255)
    found = resize(pixels, (32, 48), resizing).astype("float32")
    assert np.abs(found - theirs).max() <= 1.5  # rounded to bytes, once across
    for other in RESIZINGS:
        if other != resizing and size in SIZES[:2]:
            assert np.abs(resize(pixels, (32, 48), other) - theirs).max() > 3


@ONCE
def test_loaded_images_and_their_tasks_have_the_resizing(tmp_path):
    pictures = {}
    for i in range(8):
        folder = tmp_path / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        pictures[i] = picture(40, 90, seed=i)
        (folder / f"{i}.png").write_bytes(png(pictures[i]))
    for options in ({}, {"resizing": "bicubic_crop"}):
        found = keras_memvit.data.load(
            tmp_path, image_size=32, augment=None, validation_split=0, **options
        )
        images, _ = found.train.arrays()
        order = [int(read.path.stem) for read, _ in found.train.examples]
        crop = slice(25, 65) if options else slice(None)
        how = Image.Resampling.BICUBIC if options else Image.Resampling.BILINEAR
        expected = [
            np.asarray(
                Image.fromarray(pictures[i][:, crop]).resize((32, 32), how), "float32"
            )
            for i in order
        ]
        assert np.abs(images - np.stack(expected)).max() <= 1  # steps in another order
        assert found.tasks[0].resizing == options.get("resizing", "bilinear")
        assert ("resizing" in found.tasks[0].get_config()) == bool(options)
    with pytest.raises(ValueError, match="`resizing` must be one of.*'crop'"):
        keras_memvit.data.load(tmp_path, resizing="crop")
    with pytest.raises(ValueError, match="`resizing` of task 'a'.*None"):
        TaskSpec("a", 2, resizing=None)


@ONCE
@pytest.mark.parametrize("resizing", RESIZINGS)
def test_a_backbone_remembers_its_presets_resizing(resizing, tmp_path):
    backbone, _ = convert(preset(tmp_path, **arguments(resizing)))
    assert backbone.resizing == resizing
    small = keras_memvit.build(backbone, {"a": 2}, quantize="int8").backbone
    assert backbone.replicate(dtype="bfloat16").resizing == small.resizing == resizing
    backbone.save(tmp_path / "a.keras")
    assert keras_memvit.load_model(tmp_path / "a.keras").resizing == resizing
    # Pixels of the model's size mean the same: tasks go from one to the other.
    other = backbone.replicate(resizing="bilinear")
    assert backbone.fingerprint() == other.fingerprint()
    assert ("resizing" in backbone.get_config()) == (resizing != "bilinear")


@ONCE
def test_what_a_preset_does_not_say_or_we_do_not_have(tmp_path):
    for name, options in (("none", {"image_size": None}), ("nothing", None)):
        folder = preset(tmp_path / name, **(options or {}))
        if options is None:
            (folder / "image_converter.json").unlink()
        assert convert(folder)[0].resizing == "bilinear"
    pad = {"pad_to_aspect_ratio": True, "crop_to_aspect_ratio": False}
    for options, words in (
        (pad, "pad_to"),
        ({"interpolation": "lanczos3"}, "lanczos3"),
    ):
        folder = preset(tmp_path / words, **options)
        with pytest.warns(UserWarning, match=f"{words}.*not taken over"):
            assert convert(folder)[0].resizing == "bilinear"


@ONCE
@pytest.mark.parametrize(
    "config, expected",
    [
        ({"do_resize": True, "size": 224, "resample": 2}, "bilinear"),
        ({"do_resize": True, "resample": 3, "do_center_crop": True}, "bicubic_crop"),
        ({"do_resize": True, "resample": 3, "do_center_crop": None}, "bicubic"),
        ({"do_resize": False, "do_center_crop": True}, "bilinear"),
        ({}, "bilinear"),
    ],
)
def test_the_config_of_a_hugging_face_folder(config, expected, tmp_path):
    folder = preset(tmp_path)
    (folder / "image_converter.json").unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    assert convert(folder)[0].resizing == expected


@ONCE
@pytest.mark.parametrize("resample", [1, [3], {}], ids=str)
def test_another_filter_of_a_hugging_face_folder_is_named(resample, tmp_path):
    folder = preset(tmp_path)
    (folder / "image_converter.json").unlink()
    config = {"do_resize": True, "resample": resample}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"resizes images with resample=.*not taken"):
        assert convert(folder)[0].resizing == "bilinear"


@ONCE
def test_what_is_learned_on_a_preset_is_answered_alike(tmp_path):
    folder = preset(tmp_path / "preset", **arguments("bicubic_crop"))
    images = [picture(40, 90, seed=i) for i in range(12)]
    for i, pixels in enumerate(images):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(exist_ok=True, parents=True)
        (tmp_path / "photos" / "ab"[i % 2] / f"{i}.png").write_bytes(png(pixels))
    result = keras_memvit.recipes.learn(
        tmp_path / "photos",
        folder,
        output=tmp_path,
        candidates=keras_memvit.recipes.Candidate(num_memory_tokens=1),
        cache=tmp_path / "cache",
        epochs=1,
        verbose=0,
        report=False,
    )
    model = keras_memvit.load_task(folder, result.path)
    (spec,) = model.specs
    assert spec.resizing == "bicubic_crop"
    files = [(str(i), io.BytesIO(png(pixels))) for i, pixels in enumerate(images)]
    _, found, _ = next(batches(files, (32, 32), spec.resizing, 12))
    kept = np.stack([pixels[:, 25:65] for pixels in images])
    expected = np.stack([resize(pixels, (32, 32), "bicubic") for pixels in kept])
    np.testing.assert_array_equal(found, expected)


@pytest.fixture
def mixed(tmp_path):
    """A model of tasks that resize in two ways, and a folder of their files."""
    specs = [TaskSpec("old", 3), TaskSpec("new", 3, resizing="bicubic_crop")]
    model = keras_memvit.build(make_backbone(), specs)
    for name, task in model.task_layers.items():
        randomize(task, seed=len(name))
        keras_memvit.save_task(model, name, tmp_path / f"{name}.safetensors")
    return model, tmp_path


def answers(model, pixels):
    """Of each task, with the picture resized in its own way: a dict by name."""
    return {
        spec.name: model.predict(
            resize(pixels, (32, 48), spec.resizing)[None], verbose=0
        )[spec.name][0]
        for spec in model.specs
    }


@ONCE
def test_a_server_resizes_for_each_task_as_it_was_trained(mixed):
    model, folder = mixed
    pixels = picture(60, 200)
    expected = answers(model, pixels)
    other = model.predict(resize(pixels, (32, 48))[None], verbose=0)["new"][0]
    assert np.abs(expected["new"] - other).max() > 0.01
    client = Client(folder, model.backbone, max_images=1)
    try:
        status, found, _ = client.ask("POST", "/predict?tasks=new,old", png(pixels))
        assert status == 200 and set(found) == {"old", "new"}
        for name, logits in expected.items():
            np.testing.assert_allclose(found[name]["logits"], logits, atol=1e-4)
        data = base64.b64encode(png(pixels)).decode()
        for name, logits in expected.items():
            body = {"instances": [{"image_bytes": {"b64": data}}]}
            _, found, _ = client.ask("POST", f"/v1/models/{name}:predict", body)
            row = found["predictions"][0]["logits"]
            np.testing.assert_allclose(row, logits, atol=1e-4)
        tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1]}
        inputs = [{**tensor, "data": [data]}]
        _, found, _ = client.ask("POST", "/v2/models/new/infer", {"inputs": inputs})
        logits = next(o["data"] for o in found["outputs"] if o["name"] == "logits")
        np.testing.assert_allclose(logits, expected["new"], atol=1e-4)
        none = {"name": "task_names", "datatype": "BYTES", "shape": [0], "data": []}
        asked = {"inputs": [*inputs, none]}
        assert client.ask("POST", "/v2/models/tasks/infer", asked)[0] == 200
        names = {"name": "task_names", "datatype": "BYTES", "shape": [2]}
        inputs.append({**names, "data": ["old", "new"]})
        status, found, _ = client.ask(
            "POST", "/v2/models/tasks/infer", {"inputs": inputs}
        )
        assert status == 400 and "one `resizing`" in found["error"]
    finally:
        client.close()


@ONCE
def test_tasks_that_resize_differently_are_not_answered_together(mixed, tmp_path):
    model, _ = mixed
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(png(picture(8, 9)))
    with pytest.raises(ValueError, match="must have one `resizing`.*bicubic_crop"):
        keras_memvit.data.predict_folder(photos, model, tmp_path / "answers")


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the graph is TensorFlow's from every backend: tested there",
)
def test_a_saved_model_resizes_for_each_task_as_it_was_trained(mixed, tmp_path):
    import tensorflow as tf

    model, _ = mixed
    folder = keras_memvit.export_saved_model(model, tmp_path / "out", warmup=False)
    signatures = tf.saved_model.load(str(folder)).signatures
    pixels = picture(60, 200)
    for signature in ("serving_default_bytes", "new_bytes", "old_bytes"):
        found = signatures[signature](image_bytes=tf.constant([png(pixels)]))
        for name, logits in answers(model, pixels).items():
            if signature[:3] in ("ser", name[:3]):
                served = found[f"{name}/logits"].numpy()[0]
                np.testing.assert_allclose(served, logits, atol=1e-4)
