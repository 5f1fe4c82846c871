"""`keras-memvit export`."""

import contextlib
import enum
import sys
from typing import Annotated

import typer

from keras_memvit._command import import_quietly
from keras_memvit.cli import console
from keras_memvit.cli.options import Backbone
from keras_memvit.cli.task_files import load
from keras_memvit.serving import export_onnx
from keras_memvit.serving import export_saved_model


class Format(enum.StrEnum):
    """What a server takes."""

    saved_model = "saved_model"
    onnx = "onnx"


Tasks = Annotated[
    list[str],
    typer.Argument(
        metavar="TASKS...", help="Task files, folders of them, or a .keras file."
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="FOLDER/VERSION of the SavedModel, or the .onnx file."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is there, in one step.")
]


@console.verb
def export(
    tasks: Tasks,
    output: Output,
    backbone: Backbone = None,
    format: Annotated[Format, typer.Option()] = Format.saved_model,
    overwrite: Overwrite = False,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Write all tasks as one SavedModel for TensorFlow Serving, or as ONNX.

    Example: keras-memvit export people/ --output saved_models/people/1
    """
    import_quietly("tensorflow")
    write = {"saved_model": export_saved_model, "onnx": export_onnx}[format.value]
    model = load(tasks, backbone)
    with contextlib.redirect_stdout(sys.stderr):  # what it says is not the answer
        path = write(model, output, overwrite=overwrite)
    names = [spec.name for spec in model.specs]
    if as_json:
        console.answer_json({"path": str(path), "tasks": names})
    else:
        console.answer(f"{path}: {', '.join(names)}")
