"""A servable as a SavedModel: signatures, labels, warm-up requests."""

import pathlib

import tensorflow as tf

from keras_memvit.models.unified.answer import ALL
from keras_memvit.serving.signatures import build_signatures
from keras_memvit.serving.signatures import names_of
from keras_memvit.serving.signatures import set_classify_methods
from keras_memvit.serving.warmup import write_warmup


def write_saved_model(servable, request, probe):
    """Writes the folder and loads it again.

    Args:
        servable: a `Servable`.
        request: a `Request`.
        probe: images `(B, H, W, 3)`.

    Returns:
        A dict from output to a list of the logits for `probe`, one array for
        each signature that gives them.
    """
    folder = pathlib.Path(request.path)
    signatures = build_signatures(
        servable, request.signatures, request.labels, request.max_pixels
    )
    tf.saved_model.save(servable.module, str(folder), signatures=signatures)
    kinds = {name: kind for name, (kind, _) in request.signatures.items()}
    set_classify_methods(str(folder), [n for n, k in kinds.items() if k == "classify"])
    if request.labels:
        (folder / "assets").mkdir(exist_ok=True)
        unified = [] if servable.answer is None else [ALL]
        for output in [*servable.specs, *unified]:
            names = "".join(f"{name}\n" for name in names_of(servable, output))
            (folder / "assets" / f"{output}.txt").write_text(names)
    if request.warmup:
        image_shape = servable.backbone.image_shape
        write_warmup(folder, request.model_name, request.signatures, image_shape)
    return _answers_of(folder, kinds, probe)


def _answers_of(folder, kinds, probe):
    loaded = tf.saved_model.load(str(folder))
    found = {}
    for name, kind in kinds.items():
        if kind == "images":
            outputs = loaded.signatures[name](images=tf.constant(probe, "float32"))
            for key, value in outputs.items():
                output, what = key.rsplit("/", 1)
                if what in ("logits", "values"):
                    found.setdefault(output, []).append(value.numpy())
    return found
