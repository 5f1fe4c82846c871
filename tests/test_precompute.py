"""`precompute`: the store trains as the images do; other backbones, misuse."""

import json
import re

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.states.int8 import to_int8

pytestmark = pytest.mark.usefixtures("small_shards")
LABELS = {"a": np.arange(8) % 3, "b": np.arange(8) % 2}


def build(backbone=None, **options):
    specs = [TaskSpec("a", 3), TaskSpec("b", 2, sees=["a"], readout="deep")]
    model = keras_memvit.build(backbone or make_backbone(), specs, **options)
    for k, task in enumerate(model.task_layers.values()):
        randomize(task, k)
    model.compile()
    return model


@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 1e-5), ("bfloat16", 1e-2), ("int8", 1e-2)]
)
def test_training_from_the_store_equals_training_from_images(
    dtype, tolerance, images, tmp_path
):
    model, other = build(), build()
    store = keras_memvit.precompute(
        model, (images, LABELS), tmp_path, dtype=dtype, batch_size=5, verbose=0
    )
    assert (len(store), store.state_shape) == (8, (2, 7, 32))
    options = {"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0}
    found = model.fit(store, validation_data=store, **options).history
    expected = other.fit(
        images, LABELS, validation_data=(images, LABELS), **options
    ).history
    assert found.keys() == expected.keys()
    for name in expected:
        if "loss" in name:
            np.testing.assert_allclose(found[name], expected[name], rtol=tolerance)
    result = model.evaluate(store, return_dict=True, verbose=0)
    again = model.evaluate(images, LABELS, return_dict=True, verbose=0)
    np.testing.assert_allclose(result["loss"], again["loss"], rtol=tolerance)
    logits = model.predict(store, verbose=0)
    expected = model.predict(images, verbose=0)
    for name in logits:
        scale = tolerance * (1 + np.abs(expected[name]).max())
        np.testing.assert_allclose(logits[name], expected[name], atol=scale)


def test_images_and_stores_may_take_turns(images, tmp_path):
    """One compiled model, told apart by the structure of what comes in."""
    model, other = build(), build()
    store = keras_memvit.precompute(
        model, (images, LABELS), tmp_path, dtype="float32", verbose=0
    )
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    mixed = model.fit(images, LABELS, validation_data=store, **options).history
    plain = other.fit(images, LABELS, validation_data=(images, LABELS), **options)
    for name, values in plain.history.items():
        np.testing.assert_allclose(mixed[name], values, rtol=1e-5)
    weights = {"a": {0: 1.0, 1: 3.0, 2: 0.5}}
    for data in ((store,), (images, LABELS)):
        weighted = model.fit(*data, class_weight=weights, **options).history["loss"]
        expected = other.fit(images, LABELS, class_weight=weights, **options).history
        np.testing.assert_allclose(weighted, expected["loss"], rtol=1e-5)
        unweighted = model.fit(*data, **options).history["loss"]
        expected = other.fit(images, LABELS, **options).history["loss"]
        np.testing.assert_allclose(unweighted, expected, rtol=1e-5)

    class Predicts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.found = self.model.predict(images, verbose=0)

    callback = Predicts()
    model.fit(store, callbacks=[callback], **options)
    expected = model.predict(images, verbose=0)
    for name, value in callback.found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_bfloat16_is_half_the_size_and_int8_a_quarter(images, tmp_path):
    sizes = {}
    for dtype in ("float32", "bfloat16", "int8"):
        folder = tmp_path / dtype
        keras_memvit.precompute(
            make_backbone(), (images,), folder, dtype=dtype, verbose=0
        )
        sizes[dtype] = sum(f.stat().st_size for f in folder.glob("*.npy"))
    states = 8 * 2 * 7 * 32
    assert 4 * states <= sizes["float32"] <= 4 * states + 3 * 128
    assert 2 * states <= sizes["bfloat16"] <= 2 * states + 2 * 128
    scales = 8 * 2 * 7 * 4
    assert states + scales <= sizes["int8"] <= states + scales + 2 * 128


@pytest.mark.backend_free
def test_int8_is_within_half_a_step_of_what_it_holds():
    states = np.random.default_rng(0).normal(size=(2, 3, 5, 32)).astype("float32")
    states[0, 0, 0] = 0.0  # has no scale of its own
    states[1] *= 1e4
    held = to_int8(states)
    scale = held[..., -4:].copy().view("<f4")
    assert held.dtype == "int8" and held.shape == (2, 3, 5, 36)
    np.testing.assert_allclose(np.abs(held[..., :-4]).max(-1)[0, 1:], 127)
    error = np.abs(held[..., :-4] * scale - states)
    assert (error <= 0.501 * scale).all()


def test_whole_batches_where_they_are_shuffled(images, tmp_path):
    store = keras_memvit.precompute(make_backbone(), (images,), tmp_path, verbose=0)
    whole = store.drop_remainder()
    assert [len(whole.batches(3, shuffle)) for shuffle in (True, False)] == [2, 3]
    assert len(whole.batches(16, shuffle=True)) == len(store.batches(3)) - 2 == 1
    model = keras_memvit.build(make_backbone(), {"a": 2})
    assert len(model.predict(whole, batch_size=3, verbose=0)["a"]) == 8
    seen = []
    for epoch in range(8):
        batches = whole.batches(3, shuffle=True)
        batches.set_epoch(epoch)
        seen += list(batches.order[:6])
    assert set(seen) == set(range(8))  # each epoch leaves out others


def test_a_batch_starts_where_jax_takes_it_without_a_copy(images, tmp_path):
    store = keras_memvit.precompute(make_backbone(), (images,), tmp_path, verbose=0)
    batches = [store.rows(range(count)) for count in (1, 3, 8)]
    assert all(batch.ctypes.data % 64 == 0 for batch in batches)


def test_size_and_time_are_said_up_front(images, tmp_path, capsys):
    keras_memvit.precompute(make_backbone(), (images,), tmp_path / "a")
    said = capsys.readouterr().out
    assert "8 images of 1 kB (bfloat16), 1 views: 0.00 GB" in said
    assert re.search(r"8 images to go: about 0:\d\d:\d\d\n", said)
    keras_memvit.precompute(make_backbone(), (images,), tmp_path / "a")
    assert "to go" not in capsys.readouterr().out  # it is all there


def test_mixed_precision_reads_a_store(images, tmp_path):
    model = build(dtype="mixed_bfloat16")
    store = keras_memvit.precompute(model, (images, LABELS), tmp_path, verbose=0)
    logits = model.predict(store, verbose=0)
    expected = model.predict(images, verbose=0)
    for name in logits:
        np.testing.assert_allclose(logits[name], expected[name], atol=0.1)
    model.fit(store, verbose=0)


def as_tf_data(images, labels):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)


def as_torch_loader(images, labels):
    import torch

    rows = [(torch.from_numpy(x), int(y)) for x, y in zip(images, labels)]
    return torch.utils.data.DataLoader(rows, batch_size=5)


def as_weighted_arrays(images, labels):
    return images, labels, np.linspace(0.1, 2.0, 8).astype("float32")


@pytest.mark.parametrize("convert", [as_tf_data, as_torch_loader, as_weighted_arrays])
def test_every_kind_of_data_set_can_be_stored(convert, images, tmp_path):
    model = keras_memvit.build(make_backbone(), {"a": 3})
    model.compile()
    data = convert(images, LABELS["a"])
    store = keras_memvit.precompute(model, data, tmp_path, verbose=0)
    found = model.evaluate(store, return_dict=True, verbose=0)
    if isinstance(data, tuple):
        given = {"x": data[0], "y": data[1], "sample_weight": data[2]}
    else:
        given = {"x": images, "y": LABELS["a"]}
    expected = model.evaluate(**given, return_dict=True, verbose=0)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-2)


def test_views_are_taken_in_turn(images, tmp_path):
    """A data set that augments gives other images in each pass."""

    class Flipping(keras.utils.PyDataset):
        passes = 0

        def __len__(self):
            return 1

        def __getitem__(self, index):
            self.passes += 1
            return (images if self.passes % 2 else images[:, :, ::-1]), LABELS

    model = build()
    store = keras_memvit.precompute(
        model, Flipping(), tmp_path, views=2, dtype="float32", verbose=0
    )
    batches = store.batches(8, shuffle=False)
    logits = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        inputs, _ = batches[0]
        logits.append(keras.ops.convert_to_numpy(model(inputs)["a"]))
    expected = [model.predict(x, verbose=0)["a"] for x in (images, images[:, :, ::-1])]
    for found, want in zip(logits, [*expected, expected[0]]):
        np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_store_of_another_backbone_is_refused(images, tmp_path):
    model = build()
    keras_memvit.precompute(model, (images, LABELS), tmp_path, verbose=0)
    store = keras_memvit.StateStore(tmp_path)
    before = snapshot(model.trainable_variables)
    other = build(make_backbone(seed=9))
    for act in (other.fit, other.evaluate, other.predict):
        with pytest.raises(ValueError, match="belongs to another backbone"):
            act(store, verbose=0)
    with pytest.raises(ValueError, match="another store, which differs in .*backbone"):
        keras_memvit.precompute(other, (images, LABELS), tmp_path, verbose=0)
    for path, value in snapshot(model.trainable_variables).items():
        np.testing.assert_array_equal(value, before[path])
    np.testing.assert_array_equal(  # and images still go in
        model.predict(images, verbose=0)["a"].shape, (8, 3)
    )


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda m, s, x: m.fit(s, LABELS), "`y` must be None"),
        (lambda m, s, x: m({"tokens": x}), r"'states' or of 'images'.*\['tokens'\]"),
        (
            lambda m, s, x: m({"states": s.rows([0, 1])[:, :1]}),
            r"`states` must be.*\(None, 2, 7, 32\).*\(2, 1, 7, 32\)",
        ),
        (
            lambda m, s, x: keras_memvit.precompute(
                m, (x,), s.path / "n", dtype="int4"
            ),
            "`dtype`.*'int4'",
        ),
        (
            lambda m, s, x: keras_memvit.precompute(m, (x,), s.path / "n", views=0),
            "views=0",
        ),
        (
            lambda m, s, x: keras_memvit.precompute(m, (x[:7], x[:7]), s.path),
            "same in every call and pass.*7 images after 8",
        ),
        (
            lambda m, s, x: keras_memvit.precompute(
                keras_memvit.build(m.backbone, {"a": 2}, attention="unmasked"),
                (x,),
                s.path / "n",
            ),
            "masked attention.*unmasked",
        ),
    ],
)
def test_misuse_is_named(act, message, images, tmp_path):
    model = build()
    store = keras_memvit.precompute(model, (images, LABELS), tmp_path, verbose=0)
    with pytest.raises(ValueError, match=message):
        act(model, store, images)
    card = json.loads((tmp_path / "store.json").read_text())
    assert card["images"] == 8
