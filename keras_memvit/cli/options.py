"""Options that several verbs have."""

import pathlib
from typing import Annotated

import typer

Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help="Preset name, preset folder or hf:// handle. Without it, "
        "$KERAS_MEMVIT_BACKBONE or what `train` noted beside the task file.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(min=1, help="Side of the images; the backbone's without it."),
]
Seed = Annotated[int, typer.Option(help="Of split, order and initial values.")]
Cache = Annotated[
    pathlib.Path | None,
    typer.Option(help="Folder of stores and finished candidates."),
]
Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="A folder of class folders, or a TFDS name."),
]
