"""`keras-memvit inspect`."""

from typing import Annotated

import typer

from keras_memvit.cli import console
from keras_memvit.cli.task_files import task_files
from keras_memvit.models.sharing import inspect as print_card
from keras_memvit.tasks.task_file import read_card

Tasks = Annotated[
    list[str],
    typer.Argument(metavar="TASKS...", help="Task files, or folders of them."),
]


@console.verb
def inspect(
    tasks: Tasks,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Show what is in task files, without a backbone.

    Example: keras-memvit inspect birds/birds.safetensors
    """
    files = task_files(tasks)
    for i, file in enumerate(files):
        if as_json:
            card = read_card(file)
            card["task"] = card["task"].get_config()
            size = file.stat().st_size
            console.answer_json({"file": str(file), "bytes": size} | card)
        else:
            print_card(file, print_fn=lambda text: console.answer(text))
            if i + 1 < len(files):
                console.answer("")
