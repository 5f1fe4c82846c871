"""Weights that others share are not quantised under them."""

import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit


@pytest.mark.parametrize("of", ["model", "backbone"])
def test_quantize_is_refused_and_changes_nothing(of, images):
    backbone = make_backbone(num_layers=1)
    model = keras_memvit.build(backbone, {"a": 2})
    expected = model.predict(images, verbose=0)["a"]
    fingerprint = backbone.fingerprint()
    with pytest.raises(ValueError, match=r"share.*dtype='mixed_bfloat16'"):
        {"model": model, "backbone": backbone}[of].quantize("int8")
    assert backbone.fingerprint() == fingerprint
    np.testing.assert_array_equal(model.predict(images, verbose=0)["a"], expected)
