"""In the command `keras-memvit`, what TensorFlow logs while it starts is kept away.

First of all imports: Keras brings its backend in. TensorFlow's variable for its log
level does not hold for the first lines, which are the C++ library's.
"""

import contextlib
import importlib
import os
import pathlib
import sys


def import_quietly(*names):
    """Imports modules; what is written to the process's stderr meanwhile is lost.

    A module that is not installed is left to who needs it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# Python calls a package "-m" while it looks for its `__main__`.
if sys.argv and pathlib.Path(sys.argv[0]).stem in ("keras-memvit", "-m"):
    import_quietly("keras")
