"""Writes a SavedModel; runs in TensorFlow, in a process of its own or not.

    KERAS_BACKEND=tensorflow python -m keras_memvit.serving.build request.json

builds what `export_saved_model` asks for from another backend.
"""

import dataclasses
import json
import pathlib
import sys

import keras
import numpy as np

from keras_memvit.model import MemoryViT
from keras_memvit.version import __version__

CARD = "assets.extra/keras_memvit.json"


@dataclasses.dataclass
class Request:
    """What to build.

    Attributes:
        folder: where the SavedModel goes, a folder that does not exist yet.
        model_name: str. The name that the server gives the model.
        signatures: dict from signature name to `[kind, task names]`.
        labels: bool. Whether to give class names.
        warmup: bool. Whether to write warm-up requests.
        dtype: str. The type that weights are stored in.
        exact: bool. Whether the model computes in float32, as the servable does.
    """

    folder: str
    model_name: str
    signatures: dict
    labels: bool
    warmup: bool
    dtype: str
    exact: bool


def build_saved_model(model, request, probe, expected):
    """Builds, saves and checks a SavedModel.

    Args:
        model: a `MemoryViT` on the TensorFlow backend.
        request: a `Request`.
        probe: images `(B, H, W, 3)` to compare outputs on.
        expected: dict from output to the model's logits for them.

    Raises:
        RuntimeError: if the SavedModel answers otherwise than the model.
    """
    import tensorflow as tf

    from keras_memvit.serving.servable import Servable
    from keras_memvit.serving.signatures import build_signatures
    from keras_memvit.serving.signatures import class_names
    from keras_memvit.serving.signatures import set_classify_methods
    from keras_memvit.serving.warmup import write_warmup

    servable = Servable(_in_float32(model), request.dtype)
    signatures = build_signatures(servable, request.signatures, request.labels)
    folder = pathlib.Path(request.folder)
    tf.saved_model.save(servable.module, str(folder), signatures=signatures)
    kinds = {name: kind for name, (kind, _) in request.signatures.items()}
    set_classify_methods(str(folder), [n for n, k in kinds.items() if k == "classify"])
    if request.labels:
        (folder / "assets").mkdir(exist_ok=True)
        for spec in model.specs:
            names = "".join(f"{name}\n" for name in class_names(spec))
            (folder / "assets" / f"{spec.name}.txt").write_text(names)
    if request.warmup:
        image_shape = model.backbone.image_shape
        write_warmup(folder, request.model_name, request.signatures, image_shape)
    differences = _compare(folder, kinds, probe, expected)
    _check(differences, request, expected)
    card = {
        "backbone": model.backbone.fingerprint(),
        "dtype": request.dtype,
        "keras_memvit": __version__,
        "largest_difference": {name: d for name, (d, _) in differences.items()},
        "same_class": {name: same for name, (_, same) in differences.items()},
        "tasks": [spec.get_config() for spec in model.specs],
    }
    (folder / "assets.extra").mkdir(exist_ok=True)
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")


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
    for name, task in single.task_layers.items():
        task.set_weights(model.task_layers[name].get_weights())
    return single


def _compare(folder, kinds, probe, expected):
    """Per output, the largest difference and the share of equal classes."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    found = {}
    for name, kind in kinds.items():
        if kind == "images":
            outputs = loaded.signatures[name](images=tf.constant(probe, "float32"))
            for key, value in outputs.items():
                output, what = key.rsplit("/", 1)
                if what == "logits":
                    found.setdefault(output, []).append(value.numpy())
    differences = {}
    for output, all_logits in found.items():
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
                f"The SavedModel's logits of '{name}' differ from the model's by "
                f"{difference:.3g}, at logits of up to {scale - 1:.3g}; nothing "
                "was exported"
            )


def main(path):
    """Builds from files that the parent process left beside `path`."""
    folder = pathlib.Path(path).parent
    request = Request(**json.loads(pathlib.Path(path).read_text()))
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    arrays = dict(np.load(folder / "probe.npz"))
    probe = arrays.pop("images")
    build_saved_model(model, request, probe, arrays)


if __name__ == "__main__":
    main(sys.argv[1])
