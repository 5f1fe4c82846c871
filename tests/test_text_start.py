"""Tasks that start as the zero-shot classifier of their class names."""

import keras
import numpy as np
import pytest
from conftest import snapshot
from families import FAMILIES
from families import images_for
from processes import BACKENDS
from processes import run_python
from test_text_head import NAMES
from test_text_head import Letters
from test_text_head import expected_logits

import keras_memvit
from keras_memvit import TaskSpec

TEMPLATE = "a photo of a {}."  # `text_head`'s own
LABELS = np.array([0, 1, 2])


def pets(**options):
    options = {"class_names": NAMES, "head_init": "text", **options}
    return TaskSpec("pets", 3, 2, **options)


def build(source, *specs):
    tasks = specs or [pets()]
    return keras_memvit.build(source, list(tasks), preprocessor=Letters())


def seeded(source):
    keras.utils.set_random_seed(0)
    return build(source)


# Which embed a class token, and patches.
@pytest.fixture(params=["CLIP", pytest.param("SigLIP", marks=pytest.mark.backend_free)])
def family(request):
    make, statistics = FAMILIES[request.param]
    return make(), statistics


@pytest.mark.parametrize("kind", ["CLIP", "MetaCLIP 2", "SigLIP"])
def test_before_training_it_is_the_originals_zero_shot_classifier(kind):
    source, statistics = FAMILIES[kind][0](), FAMILIES[kind][1]
    images = images_for(source)
    found = build(source, pets(), TaskSpec("other", 2)).predict(images, verbose=0)
    expected = expected_logits(source, images, statistics, TEMPLATE)
    np.testing.assert_allclose(found["pets"], expected, atol=1e-4, rtol=1e-4)
    assert np.ptp(expected) > 0.1


def test_training_moves_it_and_nothing_frozen(family):
    source, _ = family
    images = images_for(source)
    model = build(source)
    frozen = snapshot([*model.backbone.weights, *model.classifier.weights])
    before = snapshot(model.trainable_variables)
    base = model.predict(images, verbose=0)["base"]
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(images, LABELS, epochs=3, verbose=0)
    for path, value in snapshot(model.trainable_variables).items():
        assert np.abs(value - before[path]).max() > 0, path
    after = snapshot([*model.backbone.weights, *model.classifier.weights])
    for path, value in after.items():
        np.testing.assert_array_equal(value, frozen[path])
    np.testing.assert_array_equal(model.predict(images, verbose=0)["base"], base)


def test_files_models_and_neighbours_keep_it(family, tmp_path):
    source, _ = family
    images = images_for(source)
    model = build(source)
    expected = model.predict(images, verbose=0)["pets"]
    keras_memvit.save_task(model, "pets", tmp_path / "pets.safetensors")
    model.save(tmp_path / "model.keras")
    other = keras_memvit.build(
        model.backbone, {"other": 2}, classifier=model.classifier
    )
    models = {
        "task file": keras_memvit.load_task(other, tmp_path / "pets.safetensors"),
        "on the source": keras_memvit.load_task(source, tmp_path / "pets.safetensors"),
        ".keras": keras.saving.load_model(tmp_path / "model.keras"),
        "concatenate": keras_memvit.concatenate([other, model]),
        "extend": keras_memvit.extend(model, {"on": 2}, sees=["pets"]),
    }
    for how, found in models.items():
        answers = found.predict(images, verbose=0)["pets"]
        np.testing.assert_allclose(answers, expected, atol=1e-5, err_msg=how)
    differences = models["extend"].verify_unchanged(images)
    assert differences["pets"] < 1e-5 and differences["base"] == 0.0


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="SavedModels are TensorFlow's"
)
def test_a_saved_model_answers_the_same(family, tmp_path):
    import tensorflow as tf

    source, _ = family
    images = images_for(source)
    model = build(source, pets(), TaskSpec("other", 2))
    keras_memvit.export_saved_model(model, tmp_path / "1")
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    served = serve(images=tf.constant(images, tf.float32))
    expected = model.predict(images, verbose=0)
    for name in ("pets", "other"):
        np.testing.assert_allclose(served[f"{name}/logits"], expected[name], atol=1e-4)


def test_a_store_answers_and_trains_it_too(tmp_path):
    source = FAMILIES["CLIP"][0]()
    images = images_for(source)
    model, other = (seeded(source) for _ in "ab")
    store = keras_memvit.precompute(
        model, (images, LABELS), tmp_path, dtype="float32", verbose=0
    )
    found = model.predict(store, verbose=0)["pets"]
    expected = model.predict(images, verbose=0)["pets"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for trained, data in ((model, (store,)), (other, (images, LABELS))):
        trained.compile(keras.optimizers.SGD(0.01))
        trained.fit(*data, epochs=2, batch_size=3, shuffle=False, verbose=0)
    found = snapshot(model.task_layers["pets"].weights)
    for path, value in snapshot(other.task_layers["pets"].weights).items():
        np.testing.assert_allclose(found[path], value, atol=1e-4)


def test_pooled_patches_are_not_in_a_store(tmp_path):
    source = FAMILIES["SigLIP"][0]()
    model = build(source)
    data = (images_for(source), LABELS)
    store = keras_memvit.precompute(model, data, tmp_path, verbose=0)
    with pytest.raises(ValueError, match="pets.*need images, a store does not"):
        model.predict(store, verbose=0)


def test_a_nan_image_leaves_the_task_whole(family):
    source, _ = family
    images = images_for(source).astype("float32")
    images[1] = np.nan
    model = build(source)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(images, np.array([0, -1, 2]), verbose=0)
    for path, value in snapshot(model.trainable_variables).items():
        assert np.isfinite(value).all(), path


def test_another_projection_is_refused(tmp_path):
    """Its width alone would be believed, and the answers be others."""
    source = FAMILIES["CLIP"][0]()
    model = build(source)
    width = model.classifier.num_classes
    other = keras_memvit.layers.BaseClassifier(width, use_bias=False)
    other.build((None, None, model.backbone.hidden_dim))
    plain = keras_memvit.build(model.backbone, {"a": 2}, classifier=other)
    keras_memvit.save_task(model, "pets", tmp_path / "pets.safetensors")
    message = "'pets' takes the backbone's image embedding whose fingerprint"
    with pytest.raises(ValueError, match=message):
        keras_memvit.load_task(plain, tmp_path / "pets.safetensors")
    beside = keras_memvit.concatenate([plain, model])  # which has the right one
    assert beside.classifier is model.classifier


@pytest.mark.backend_free
def test_a_sweeps_candidates_all_start_from_it(tmp_path):
    source = FAMILIES["CLIP"][0]()
    images = images_for(source)
    found = keras_memvit.recipes.sweep(
        source,
        pets(),
        (images, LABELS),
        (images, LABELS),
        learning_rates=(1e-9,),
        num_memory_tokens=(1,),
        seeds=(0, 1),
        epochs=1,
        preprocessor=Letters(),
    )
    expected = build(source).predict(images, verbose=0)["pets"]
    answers = found.model.predict(images, verbose=0)["pets"]
    np.testing.assert_allclose(answers, expected, atol=1e-3)


def test_a_bank_says_that_it_cannot_take_it(tmp_path):
    model = build(FAMILIES["CLIP"][0]())
    keras_memvit.save_task(model, "pets", tmp_path / "pets.safetensors")
    bank = keras_memvit.TaskBank(model.backbone, readouts=["image_embedding"])
    with pytest.raises(ValueError, match="image embedding; a bank has none"):
        bank.load(tmp_path / "pets.safetensors")


@pytest.mark.large
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_means_the_same_on_other_backends(backend, tmp_path):
    source = FAMILIES["CLIP"][0]()
    images = images_for(source)
    model = build(source)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    program = f"""
import numpy as np, keras_memvit
model = keras_memvit.load_model({str(tmp_path / "model.keras")!r})
images = np.load({str(tmp_path / "images.npy")!r})
np.save({str(tmp_path / "found.npy")!r}, model.predict(images, verbose=0)["pets"])
"""
    run_python(program, backend)
    expected = model.predict(images, verbose=0)["pets"]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"class_names": None}, "needs class_names"),
        ({"kind": "regression"}, "needs a kind with classes"),
        ({"readout": "deep"}, "needs readout='class_token'"),
        ({"head_init": "image"}, r"must be one of \(None, 'text'\).*'image'"),
    ],
)
def test_a_task_that_cannot_start_so_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        pets(**options)


def test_where_there_is_no_text_tower_it_says_so(backbone, tmp_path):
    with pytest.raises(ValueError, match="whole with its text tower"):
        keras_memvit.build(backbone, [pets()])
    source = FAMILIES["CLIP"][0]()
    model = build(source)
    with pytest.raises(ValueError, match="`head_init` of task 'pets' needs"):
        keras_memvit.extend(keras_memvit.build(model.backbone, {"a": 2}), [pets()])
    keras_memvit.save_task(model, "pets", tmp_path / "pets.safetensors")
    with pytest.raises(ValueError, match="24 numbers, and the model has no classifier"):
        keras_memvit.load_task(model.backbone, tmp_path / "pets.safetensors")
