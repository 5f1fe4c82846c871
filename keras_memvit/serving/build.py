"""Writes what is served; runs on TensorFlow, from other backends in a child process.

    KERAS_BACKEND=tensorflow python -m keras_memvit.serving.build request.json

is that child, which `run` starts.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import keras
import numpy as np

from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unified.unified_vit import UnifiedViT
from keras_memvit.readouts.modules import readout_modules
from keras_memvit.version import __version__

CARD = "assets.extra/keras_memvit.json"


@dataclasses.dataclass
class Request:
    """What to build.

    Attributes:
        format: `"saved_model"`, `"saved_bank"` or `"onnx"`.
        path: where it goes; there is nothing yet.
        model_name: str. The name that the server gives the model.
        signatures: dict from signature name to `[kind, task names]`.
        labels: bool. Whether to give class names.
        max_pixels: int. Encoded images of more are refused.
        warmup: bool. Whether to write warm-up requests.
        dtype: str. The type that weights are stored in.
        exact: bool. Whether the model computes in float32, as the servable does.
        modules: modules that register the readouts of the model's tasks.
    """

    format: str
    path: str
    model_name: str = ""
    signatures: dict = dataclasses.field(default_factory=dict)
    labels: bool = False
    max_pixels: int = 0
    warmup: bool = False
    dtype: str = "float32"
    exact: bool = True
    modules: list = dataclasses.field(default_factory=list)


def run(model, request, scratch):
    """Builds and checks, here on TensorFlow and else in a TensorFlow process.

    Args:
        model: a `MemoryViT`.
        request: a `Request`.
        scratch: a folder for what the process is given.

    Raises:
        RuntimeError: if the process fails or the result answers otherwise
            than the model.
    """
    request.exact = model.encoder.compute_dtype == "float32"
    shape = (8, *model.backbone.image_shape)
    probe = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    expected = model.predict(probe, verbose=0)
    if keras.backend.backend() == "tensorflow":
        return build(model, request, probe, expected)
    process = "the TensorFlow process that exports"
    request.modules = readout_modules(model.specs, process)
    model.save(scratch / "model.keras")
    np.savez(scratch / "probe.npz", images=probe, **expected)
    (scratch / "request.json").write_text(json.dumps(dataclasses.asdict(request)))
    package = str(pathlib.Path(__file__).resolve().parents[2])
    child = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, str(scratch / "request.json")],
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": os.pathsep.join([package, *filter(None, sys.path)]),
            "CUDA_VISIBLE_DEVICES": "-1",  # the parent may hold the accelerator
        },
        stdin=subprocess.PIPE,  # ends with this process, see `_end_with_parent`
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            said = child.stderr.read()
            child.wait()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise RuntimeError(
            f"The TensorFlow process that builds the {request.format} failed:\n"
            + "\n".join(said.strip().splitlines()[-30:])
        )


def build(model, request, probe, expected):
    """Builds one format from a model on TensorFlow, and checks it.

    Args:
        model: a `MemoryViT` on the TensorFlow backend.
        request: a `Request`.
        probe: images `(B, H, W, 3)` to compare outputs on.
        expected: dict from output to the model's logits for them.

    Raises:
        RuntimeError: if the result answers otherwise than the model.
    """
    from keras_memvit.serving.bank.saved_bank import write_saved_bank
    from keras_memvit.serving.onnx_model import write_onnx
    from keras_memvit.serving.saved_model import write_saved_model
    from keras_memvit.serving.servable import Servable

    servable = Servable(_in_float32(model), request.dtype)
    write = {
        "saved_model": write_saved_model,
        "saved_bank": write_saved_bank,
        "onnx": write_onnx,
    }
    answers = write[request.format](servable, request, probe)
    differences = _compare(answers, expected)
    _check(differences, request, expected)
    if request.format != "onnx":
        _write_card(model, request, differences)


def _in_float32(model):
    """The model itself, or one of the same weights that computes in float32."""
    if model.encoder.compute_dtype == "float32":
        return model
    classifier = model.classifier
    if classifier is not None:
        config = {**classifier.get_config(), "dtype": "float32"}
        values = classifier.get_weights()
        classifier = type(classifier).from_config(config)
        classifier.build((None, None, model.backbone.hidden_dim))
        classifier.set_weights(values)
    backbone = model.backbone.replicate(dtype="float32")
    single = MemoryViT(backbone, model.specs, classifier=classifier)
    if (answer := getattr(model, "answer", None)) is not None:
        single = UnifiedViT(backbone, model.specs, answer, classifier=classifier)
    for name, task in single.task_layers.items():
        task.set_weights(model.task_layers[name].get_weights())
    return single


def _compare(answers, expected):
    """Per output, the largest difference and the share of equal classes."""
    differences = {}
    for output, all_logits in answers.items():
        want = expected[output]
        largest = max(float(np.abs(logits - want).max()) for logits in all_logits)
        same = [np.argmax(logits, -1) == np.argmax(want, -1) for logits in all_logits]
        differences[output] = (largest, float(np.mean(same)))
    return differences


def _check(differences, request, expected):
    """float32 must agree closely; other types are reported, but not garbage."""
    exact = request.exact and request.dtype == "float32"
    for name, (difference, _) in differences.items():
        scale = 1.0 + float(np.abs(expected[name]).max())
        if not difference <= (1e-4 if exact else 0.3) * scale:
            raise RuntimeError(
                f"The {request.format}'s logits of '{name}' differ from the model's "
                f"by {difference:.3g}, at logits of up to {scale - 1:.3g}; nothing "
                "was exported"
            )


def _write_card(model, request, differences):
    values = [spec.name for spec in model.specs if spec.kind == "regression"]
    card = {
        "backbone": model.backbone.fingerprint(),
        "dtype": request.dtype,
        "keras_memvit": __version__,
        "largest_difference": {name: d for name, (d, _) in differences.items()},
        "same_class": {n: s for n, (_, s) in differences.items() if n not in values},
        "tasks": [spec.get_config() for spec in model.specs],
    }
    path = pathlib.Path(request.path) / CARD
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(card, indent=1) + "\n")


def _end_with_parent():
    """Ends this process when the one that started it has ended, however it did."""

    def wait():
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(path):
    """Builds from files that the parent process left beside `path`."""
    _end_with_parent()
    folder = pathlib.Path(path).parent
    request = Request(**json.loads(pathlib.Path(path).read_text()))
    for module in request.modules:
        importlib.import_module(module)
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    arrays = dict(np.load(folder / "probe.npz"))
    probe = arrays.pop("images")
    build(model, request, probe, arrays)


if __name__ == "__main__":
    main(sys.argv[1])
