"""The command `keras-memvit`: each verb a thin call of the library.

Imports any room; typer and rich where the command runs.
"""

import sys


def main() -> None:
    """Runs the command of `sys.argv`; what the exit codes mean is in `cli.console`."""
    try:
        from keras_memvit.cli.app import app
    except ImportError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"keras-memvit needs {error.name}: pip install 'keras_memvit[cli]'")
    app(prog_name="keras-memvit")
