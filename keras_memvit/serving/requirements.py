"""What an export needs: a masked model, and packages."""

import importlib.util

PACKAGES = {"tensorflow_serving": "tensorflow-serving-api"}


def check_model(model):
    """Refuses what cannot be served: the paper's unmasked regime."""
    if getattr(model, "attention", None) != "masked":
        raise ValueError(
            "`model` must be a MemoryViT with masked attention. Received: "
            f"{getattr(model, 'attention', type(model).__name__)}"
        )


def require(module, reason):
    """Says what to install if a package is missing."""
    if importlib.util.find_spec(module) is None:
        package = PACKAGES.get(module, module)
        raise ImportError(f"{reason}: pip install {package}")
