"""Files that live at the Hugging Face hub, by `hf://` handle."""

import os
import pathlib
import re

PREFIX = "hf://"
# A repository's own folder holds a task; what lies deeper is not ours.
PATTERNS = ("*.safetensors", "*.json")
_HANDLE = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(/(?P<file>.+))?"
)


def is_handle(path):
    """Whether a path is a `hf://` handle."""
    return isinstance(path, str) and path.startswith(PREFIX)


def local_path(path):
    """A path on this machine; what a handle names is downloaded first.

    Downloads and their cache are huggingface_hub's: what is there already is used
    when there is no network.

    Args:
        path: a path, returned as it is, or `"hf://user/name"`, with `@revision` after
            the name and `/file` after all.

    Raises:
        ValueError: if a handle is malformed, or nothing is found there.
        ImportError: if huggingface_hub is not installed.
    """
    if not is_handle(path):
        return pathlib.Path(os.path.expanduser(path))
    match = _HANDLE.fullmatch(path)
    if not match:
        raise ValueError(
            "A handle must look like 'hf://user/name', 'hf://user/name@revision' or "
            f"'hf://user/name/file.safetensors'. Received: {path!r}"
        )
    hub = import_hub()
    file = match["file"]
    try:
        folder = hub.snapshot_download(
            match["repository"],
            revision=match["revision"],
            allow_patterns=[file] if file else list(PATTERNS),
            ignore_patterns=None if file else ["*/*"],
        )
    except Exception as error:  # of the hub's library, or its HTTP client's
        raise ValueError(f"{path} cannot be downloaded: {one_line(error)}") from error
    found = pathlib.Path(folder, *([file] if file else []))
    if not found.exists():
        raise ValueError(f"{path} cannot be downloaded: there is no such file")
    return found


def import_hub():
    """huggingface_hub, or an error that says how to get it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "hf:// handles need huggingface_hub: pip install 'keras_memvit[hub]'"
        ) from error
    return huggingface_hub


def one_line(error):
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
