"""`precompute(compute_dtype=...)`: the pass in bfloat16, where that is faster."""

import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.states import compute_dtype

LABELS = np.arange(8) % 3


def precompute(source, images, path, **options):
    return keras_memvit.precompute(
        source, (images, LABELS), path, batch_size=4, verbose=0, **options
    )


def answers(model, data):
    return model.predict(data, verbose=0)["a"]


@pytest.fixture
def timed(monkeypatch):
    """Makes one of the two the faster one; a list of what was timed."""
    seen = []

    def say(faster):
        def seconds(encoder, images):
            dtype = encoder.backbone.tokens_dtype
            seen.append(dtype)
            assert images.shape == (4, *encoder.backbone.image_shape)
            return 1.0 if dtype == faster else 2.0

        monkeypatch.setattr(compute_dtype, "_seconds", seconds)
        return seen

    return say


def test_the_store_is_what_a_bfloat16_backbone_gives(images, tmp_path):
    backbone = make_backbone()
    half = keras_memvit.build(backbone, {"a": 3}, dtype="bfloat16").backbone
    options = {"compute_dtype": "bfloat16"}
    store = precompute(backbone, images, tmp_path / "store", **options)
    own = precompute(half, images, tmp_path / "own")
    plain = precompute(backbone, images, tmp_path / "plain")
    found, expected, exact = (data.rows(range(8)) for data in (store, own, plain))
    np.testing.assert_array_equal(found, expected)
    assert (found != exact).any()
    model = keras_memvit.build(backbone, {"a": 3})  # the float32 one's tasks take it
    np.testing.assert_allclose(answers(model, store), answers(model, plain), atol=0.1)


def test_auto_takes_the_faster_one_and_goes_on_with_it(images, tmp_path, timed):
    backbone = make_backbone()
    seen = timed("bfloat16")
    first = precompute(backbone, images, tmp_path, compute_dtype="auto")
    assert first.card["compute_dtype"] == "bfloat16"
    timed("float32")  # as another process may find
    again = precompute(backbone, images, tmp_path, compute_dtype="auto")
    assert again.card == first.card
    assert seen == ["float32", "bfloat16"]  # once
    with pytest.raises(ValueError, match=r"differs in \['compute_dtype'\]"):
        precompute(backbone, images, tmp_path)


def test_auto_stays_where_half_the_digits_gain_nothing(images, tmp_path, timed):
    backbone, seen = make_backbone(), timed("float32")
    store = precompute(backbone, images, tmp_path / "auto", compute_dtype="auto")
    assert seen == ["float32", "bfloat16"] and "compute_dtype" not in store.card
    plain = precompute(backbone, images, tmp_path / "plain")
    model = keras_memvit.build(backbone, {"a": 3})
    np.testing.assert_array_equal(answers(model, store), answers(model, plain))


def test_auto_never_rounds_a_store_of_float32(images, tmp_path, timed):
    seen = timed("bfloat16")
    options = {"dtype": "float32", "compute_dtype": "auto"}
    store = precompute(make_backbone(), images, tmp_path, **options)
    assert "compute_dtype" not in store.card and seen == []


def test_both_are_timed_for_real(images, tmp_path, monkeypatch):
    monkeypatch.setattr(compute_dtype, "SECONDS", 0.01)
    options = {"compute_dtype": "auto"}
    store = precompute(make_backbone(), images, tmp_path / "auto", **options)
    taken = store.card.get("compute_dtype")
    assert taken in (None, "bfloat16")
    options = {"compute_dtype": taken}
    same = precompute(make_backbone(), images, tmp_path / "same", **options)
    np.testing.assert_array_equal(store.rows(range(8)), same.rows(range(8)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"compute_dtype": "float64"}, "`compute_dtype` must be one of.*'float64'"),
        ({"compute_dtype": "bfloat16", "dtype": "float32"}, "stores of bfloat16 or"),
    ],
)
def test_bad_input(options, message, images, tmp_path):
    with pytest.raises(ValueError, match=message):
        precompute(make_backbone(), images, tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()
