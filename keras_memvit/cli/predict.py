"""`keras-memvit predict`."""

import collections
import json
from typing import Annotated
from typing import Any

import typer
from rich.progress import Progress

from keras_memvit.cli import console
from keras_memvit.cli.answers import check_suffix
from keras_memvit.cli.answers import write_rows
from keras_memvit.cli.options import Backbone
from keras_memvit.cli.picture_files import batches
from keras_memvit.cli.picture_files import find_pictures
from keras_memvit.cli.task_files import is_tasks
from keras_memvit.cli.task_files import load
from keras_memvit.data.answers import error_rows
from keras_memvit.data.answers import rows_of
from keras_memvit.tasks.resizing import common_resizing

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="TASKS... IMAGES...",
        help="Task files, a folder of them or a .keras file; then images: files, "
        "folders, patterns, or - for standard input (an image, or names, one a line).",
    ),
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "--csv",
        "-o",
        metavar="FILE",
        help="Write answers to FILE.csv, FILE.jsonl or FILE.parquet; may be repeated.",
    ),
]
Top = Annotated[int, typer.Option(min=1, help="Likeliest classes an image.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images a step.")]


@console.verb
def predict(
    names: Names,
    backbone: Backbone = None,
    output: Output = None,
    top: Top = 1,
    batch_size: Batch = 32,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Answer every task for images, in one pass of the backbone.

    Images that cannot be read are named, in the answers too, and the exit code is 3.

    Example: keras-memvit predict birds/birds.safetensors "new/*.jpg" --csv answers.csv
    """
    outputs = output or []
    for path in outputs:
        check_suffix(path)
    tasks, images = _apart(names)
    pictures = find_pictures(images)
    model = load(tasks, backbone)
    specs = {spec.name: spec for spec in model.specs}
    resizing = common_resizing(model.specs)
    rows, left_out = [], 0
    with Progress(console=console.NOTES, transient=True) as progress:
        bar = progress.add_task("predict", total=len(pictures))
        size = model.backbone.image_shape[:2]
        for read, pixels, errors in batches(pictures, size, resizing, batch_size):
            new = error_rows(errors)
            if read:
                new += rows_of(read, model.predict(pixels, verbose=0), specs, top)
            rows += new
            left_out += len(errors)
            progress.advance(bar, len(read) + len(errors))
    for path in outputs:
        write_rows(path, rows)
    _print(rows, outputs, as_json)
    if left_out:
        console.note(f"{left_out} of {len(pictures)} images could not be read")
        raise typer.Exit(console.LEFT_OUT)


def _apart(names):
    """Task files first, then images; a first name that is a folder holds tasks."""
    tasks = [name for name in names if is_tasks(name)]
    images = [name for name in names if not is_tasks(name)]
    if not tasks:
        tasks, images = images[:1], images[1:]
    if not images:
        raise ValueError(
            "IMAGES must follow TASKS: files, folders, patterns or -. "
            f"Received only: {' '.join(names)}"
        )
    return tasks, images


def _print(rows: list[dict[str, Any]], outputs, as_json) -> None:
    if as_json:
        for row in rows:
            console.answer(json.dumps(row))
    elif not outputs:
        for row in rows:
            console.answer(_words(row))
    else:
        counts = collections.Counter(
            (row["task"], row["answer"])
            for row in rows
            if row.get("rank") == 1 and "probability" in row
        )
        for (task, name), count in sorted(counts.items()):
            console.answer(f"{task}: {name}: {count}")
        console.note(f"wrote {', '.join(outputs)}")


def _words(row):
    if "error" in row:
        return f"{row['image']}\t-\t{row['error']}"
    if "value" in row:
        size = f"{row['value']:.6g}"
    else:
        size = f"{100 * row['probability']:.1f} %"
    return f"{row['image']}\t{row['task']}\t{row['answer']}\t{size}"
