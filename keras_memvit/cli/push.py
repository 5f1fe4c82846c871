"""`keras-memvit push`."""

import pathlib
from typing import Annotated

import typer

from keras_memvit.cli import console
from keras_memvit.tasks.push_task import push_task

Task = Annotated[pathlib.Path, typer.Argument(metavar="TASK", help="The task's file.")]
Repository = Annotated[
    str, typer.Argument(metavar="USER/NAME", help="At the Hugging Face hub.")
]
Private = Annotated[bool, typer.Option("--private", help="Only you can read it.")]


@console.verb
def push(
    task: Task,
    repository: Repository,
    private: Private = False,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Share a task at the Hugging Face hub, with its table, report and model card.

    Log in first with `hf auth login`. Elsewhere it is hf://USER/NAME.

    Example: keras-memvit push birds/birds.safetensors user/birds
    """
    handle = push_task(task, repository, private=private)
    if as_json:
        console.answer_json({"handle": handle})
    else:
        console.answer(handle)
