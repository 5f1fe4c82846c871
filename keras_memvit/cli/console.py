"""How every verb speaks: one line an error, exit codes, JSON on request.

Exit codes: 0 done; 1 refused, nothing was written; 2 a wrong command line; 3 done, but
something was left out or found (damaged images, findings of `check`); 130 stopped.
"""

import functools
import json
import os
import sys
import warnings
from typing import Annotated
from typing import Any

import typer
from rich.console import Console

REFUSED, LEFT_OUT, STOPPED = 1, 3, 130

# Answers go to standard output, all else to standard error.
NOTES = Console(stderr=True, soft_wrap=True, highlight=False)

Debug = Annotated[bool, typer.Option("--debug", help="Show where an error arose.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs, and nothing else.")
]


def verb(function):
    """A verb: its errors are one line each on standard error."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=DeprecationWarning)
                warnings.filterwarnings("ignore", category=FutureWarning)
                warnings.showwarning = _show_warning
                function(*args, **kwargs)
        except KeyboardInterrupt:
            note("stopped; what was finished is kept, and the same command goes on")
            raise typer.Exit(STOPPED) from None
        except BrokenPipeError:  # who read the answers wants no more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(REFUSED) from None
        except (ValueError, OSError, ImportError) as error:
            if kwargs.get("debug"):
                raise
            NOTES.print(f"[bold red]error:[/] {_escaped(_one_line(error))}")
            raise typer.Exit(REFUSED) from None

    return run


def note(text: str) -> None:
    """Says something that is not the answer."""
    NOTES.print(_escaped(text))


def answer(text: str) -> None:
    """Prints an answer."""
    print(text)


def answer_json(value: Any) -> None:
    """Prints an answer for programs, one line."""
    print(json.dumps(value))


def _one_line(error):
    # What the backends raise can fill a screen.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__


def _escaped(text):
    from rich.markup import escape

    return escape(text)


def _show_warning(message, *_):
    sys.stdout.flush()
    NOTES.print(f"[yellow]warning:[/] {_escaped(str(message))}")
