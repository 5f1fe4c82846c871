"""The task's card, and the commands to use the task."""

import pathlib
import shlex

from keras_memvit.version import __version__


def task_card(result):
    """`(word, value)` of what the task is."""
    spec = next(s for s in result.model.specs if s.name == result.name)
    backbone = result.model.backbone
    parameters = result.model.task_layers[result.name].count_params()
    total = backbone.count_params()
    handle = getattr(result, "backbone", None)
    height, width = backbone.image_shape[:2]
    size = f", {result.path.stat().st_size / 1000:,.0f} kB" if result.path else ""
    rows = [
        ("Task", result.name),
        ("Classes", f"{len(result.class_names)}"),
        ("Chosen", _chosen(result)),
        ("Readout", spec.readout.name),
        *([("Adapter", _adapter(spec))] if spec.adapter else []),
        ("Memory tokens a layer", f"{spec.num_memory_tokens}"),
        ("Parameters", f"{parameters:,} ({parameters / total:.2%} of the backbone)"),
        ("Trained on", f"{result.num_images:,} images"),
        ("Temperature", f"{result.temperature:.3g}"),
        ("Backbone", pathlib.PurePath(handle).name if handle else "see fingerprint"),
        ("Fingerprint", backbone.fingerprint()[:16]),
        ("Image", f"{width} x {height} pixels"),
        ("Other outputs differ by", f"{result.base_difference}"),
        ("File", f"{result.path.name}{size}" if result.path else "not saved"),
        ("Made with", f"keras_memvit {__version__}"),
    ]
    return rows


def _adapter(spec):
    rank = "" if spec.adapter_rank is None else f", rank {spec.adapter_rank}"
    return f"{spec.adapter}{rank}"


def _chosen(result):
    rate = result.candidate.learning_rate
    words = result.candidate.words
    return words if rate is None else f"{words}, learning rate {rate:g}"


def commands(result, folder):
    """`(what for, command)` of using the task from the report's folder.

    Args:
        result: a `LearnResult`.
        folder: `pathlib.Path` of the report.
    """
    path = result.path or pathlib.Path(f"{result.name}.safetensors")
    if result.path and path.resolve().parent == folder.resolve():
        path = pathlib.Path(path.name)
    file = shlex.quote(str(path))
    handle = getattr(result, "backbone", None)
    backbone = f" --backbone {shlex.quote(handle) if handle else 'PRESET'}"
    verbs = [
        ("Answer new images", f"predict {file} PICTURES{backbone} --csv answers.csv"),
        ("Measure on further images", f"evaluate {file} FOLDER{backbone}"),
        ("What is in the file", f"inspect {file}"),
        (
            "Serve it",
            f"export {file}{backbone} --output saved_models/{result.name}/1",
        ),
    ]
    return [(words, f"keras-memvit {verb}") for words, verb in verbs]


def python_lines(result, folder):
    """The same in Python."""
    path = result.path or pathlib.Path(f"{result.name}.safetensors")
    if result.path and path.resolve().parent == folder.resolve():
        path = pathlib.Path(path.name)
    handle = getattr(result, "backbone", None)
    given = repr(handle) if handle else "backbone"
    return (
        "import keras_memvit\n\n"
        f"model = keras_memvit.load_task({given}, {str(path)!r})\n"
        f'logits = model.predict(images)["{result.name}"]'
    )
