"""`keras-memvit compare`."""

import pathlib
from typing import Annotated

import typer

from keras_memvit.cli import console
from keras_memvit.cli.options import ImageSize
from keras_memvit.cli.options import Source
from keras_memvit.cli.task_files import find_backbone
from keras_memvit.experiments import table2
from keras_memvit.experiments.__main__ import parse

DEFAULT = "head lora masked:5 deep4:5 side:5 side_lora:5"

Backbone = Annotated[str | None, typer.Option(metavar="PRESET", help="The backbone.")]
Regimes = Annotated[
    str, typer.Option(help="What is compared; `masked:1,5` with that many memories.")
]
Output = Annotated[pathlib.Path, typer.Option("--output", "-o", help="Folder.")]


@console.verb
def compare(
    source: Source,
    backbone: Backbone = None,
    regimes: Regimes = DEFAULT,
    output: Output = pathlib.Path("compare_output"),
    image_size: ImageSize = None,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="12, or `learn`'s own, without it.")
    ] = None,
    debug: console.Debug = False,
) -> None:
    """Measure readouts beside a head and LoRA on your images.

    The learning rate of each is chosen on a validation part, then several seeds are
    trained and tested. Killed, the same command goes on.

    Example: keras-memvit compare photos/birds --backbone dinov2_small
    """
    arguments = {
        "--data": source,
        "--backbone": find_backbone(backbone, []),
        "--output": output,
        "--image-size": image_size,
        "--seeds": seeds,
        "--epochs": epochs,
    }
    words = ["table2", "--regimes", *regimes.split()]
    for option, value in arguments.items():
        words += [] if value is None else [option, str(value)]
    table2.run(parse(words))
