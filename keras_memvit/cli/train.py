"""`keras-memvit train`."""

import pathlib
from typing import Annotated

import typer

from keras_memvit.cli import console
from keras_memvit.cli.options import Cache
from keras_memvit.cli.options import ImageSize
from keras_memvit.cli.options import Seed
from keras_memvit.cli.options import Source
from keras_memvit.cli.task_files import find_backbone
from keras_memvit.recipes.learn import learn
from keras_memvit.recipes.task_name import task_name

Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help="Preset name, preset folder or hf:// handle; else $KERAS_MEMVIT_BACKBONE.",
    ),
]
Output = Annotated[
    pathlib.Path | None,
    typer.Option("--output", "-o", help="Folder to write; the task's name without it."),
]
Name = Annotated[str | None, typer.Option(help="The task's name; SOURCE's without it.")]
Kind = Annotated[str, typer.Option(help="auto, or as TaskSpec(kind=...).")]
Budget = Annotated[
    str | None,
    typer.Option(help="Seconds (600), or the most a task file may take (200kB)."),
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Of all candidates; 8 to 30 without it.")
]


@console.verb
def train(
    source: Source,
    backbone: Backbone = None,
    output: Output = None,
    name: Name = None,
    kind: Kind = "auto",
    budget: Budget = None,
    image_size: ImageSize = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    cache: Cache = None,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Learn a task from labelled images, as well as the library can.

    Writes OUTPUT/NAME.safetensors (the task), NAME.json (the table) and report.html.

    Example: keras-memvit train photos/birds --backbone dinov2_small --output birds
    """
    result = learn(
        source,
        find_backbone(backbone, []),
        name=name,
        output=output or task_name(name, source),
        kind=kind,
        budget=_budget(budget),
        image_size=image_size,
        epochs=epochs,
        seed=seed,
        cache=cache,
        verbose=0 if as_json else 1,
    )
    if as_json:
        console.answer_json(result.card() | {"path": str(result.path)})
    else:
        console.answer(str(result))


def _budget(text):
    try:
        return text if text is None else float(text)
    except ValueError:
        return text
