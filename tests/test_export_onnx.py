"""ONNX files: same names, any batch size, same answers."""

import os

import numpy as np
import onnxruntime
import pytest
from test_saving import make_model

import keras_memvit


@pytest.mark.backend_free
@pytest.mark.parametrize("given", [None, "", "TRUE"])
def test_the_environment_is_left_as_it_was(given, monkeypatch):
    from keras_memvit.serving.onnx_model import _optimizers_in_place

    monkeypatch.delenv("TF2ONNX_CATCH_ERRORS", raising=False)
    if given is not None:
        monkeypatch.setenv("TF2ONNX_CATCH_ERRORS", given)
    with pytest.raises(RuntimeError), _optimizers_in_place():
        assert os.environ["TF2ONNX_CATCH_ERRORS"] == "FALSE"
        raise RuntimeError
    assert os.environ.get("TF2ONNX_CATCH_ERRORS") == given


def test_an_onnx_file_answers_like_the_model(images, tmp_path):
    model = make_model()
    path = keras_memvit.export_onnx(model, tmp_path / "people.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["people.onnx"]
    session = onnxruntime.InferenceSession(path)
    assert [i.name for i in session.get_inputs()] == ["images"]
    names = [output.name for output in session.get_outputs()]
    assert set(names) == {
        f"{task}/{what}"
        for task in ("a", "b", "base")
        for what in ("logits", "probabilities")
    }
    empty = session.run(None, {"images": np.zeros((0, 32, 48, 3), "float32")})
    assert {name: x.shape[0] for name, x in zip(names, empty)} == dict.fromkeys(
        names, 0
    )
    for size in (1, 8):
        batch = images[:size]
        outputs = session.run(None, {"images": batch.astype("float32")})
        outputs = dict(zip(names, outputs))
        for task, logits in model.predict(batch, verbose=0).items():
            np.testing.assert_allclose(outputs[f"{task}/logits"], logits, atol=1e-5)
            e = np.exp(logits - logits.max(-1, keepdims=True))
            np.testing.assert_allclose(
                outputs[f"{task}/probabilities"],
                e / e.sum(-1, keepdims=True),
                atol=1e-5,
            )
    with pytest.raises(ValueError, match="`path` must be a file that does not exist"):
        keras_memvit.export_onnx(model, path)
