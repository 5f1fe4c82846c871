"""What an export needs: packages."""

import importlib.util

PACKAGES = {"tensorflow_serving": "tensorflow-serving-api"}


def require(module, reason):
    """Says what to install if a package is missing."""
    if importlib.util.find_spec(module) is None:
        package = PACKAGES.get(module, module)
        raise ImportError(f"{reason}: pip install {package}")
