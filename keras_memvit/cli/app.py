"""The verbs of `keras-memvit`, from a folder of images to a served task."""

from typing import Annotated

import typer

from keras_memvit.cli.check import check
from keras_memvit.cli.compare import compare
from keras_memvit.cli.evaluate import evaluate
from keras_memvit.cli.export import export
from keras_memvit.cli.inspect import inspect
from keras_memvit.cli.predict import predict
from keras_memvit.cli.push import push
from keras_memvit.cli.serve import serve
from keras_memvit.cli.train import train
from keras_memvit.version import __version__

app = typer.Typer(
    help="One frozen Vision Transformer, any number of tasks in one forward pass.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (train, predict, evaluate, check, inspect, export, serve, compare, push):
    app.command()(verb)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it."
        ),
    ] = False,
) -> None:
    pass
