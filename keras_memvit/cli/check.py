"""`keras-memvit check`."""

import pathlib
from typing import Annotated

import typer

from keras_memvit.cli import console
from keras_memvit.cli.options import ImageSize
from keras_memvit.cli.options import Seed
from keras_memvit.cli.options import Source
from keras_memvit.cli.task_files import find_backbone
from keras_memvit.data.checks import check as check_data

Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help="With it also wrong labels and outliers are looked for.",
    ),
]
Output = Annotated[
    pathlib.Path | None, typer.Option("--output", "-o", help="JSON file to write.")
]


@console.verb
def check(
    source: Source,
    backbone: Backbone = None,
    output: Output = None,
    image_size: ImageSize = None,
    seed: Seed = 0,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Look for damaged, double, leaking, mislabelled and odd images.

    Nothing is changed. The exit code is 3 where something was found.

    Example: keras-memvit check photos/birds --backbone dinov2_small
    """
    if backbone is not None:
        backbone = find_backbone(backbone, [])
    verbose = 0 if as_json else 1
    found = check_data(
        source, backbone, image_size=image_size, seed=seed, verbose=verbose
    )
    if output:
        found.save(output)
    if as_json:
        console.answer_json(found.to_dict())
    else:
        console.answer(str(found))
    if found.num_findings:
        raise typer.Exit(console.LEFT_OUT)
