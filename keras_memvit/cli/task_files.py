"""What a verb is given: task files, and the backbone that they belong to."""

import json
import os

from keras_memvit._command import import_quietly
from keras_memvit.files.hub import is_handle
from keras_memvit.files.hub import local_path
from keras_memvit.models.load_model import load_model
from keras_memvit.models.sharing import load_task
from keras_memvit.tasks.task_file import SUFFIX

VARIABLE = "KERAS_MEMVIT_BACKBONE"
MODEL_SUFFIX = ".keras"


def is_tasks(path):
    """Whether a name on the command line is a task file or a model."""
    return is_handle(path) or str(path).endswith((SUFFIX, MODEL_SUFFIX))


def load(paths, backbone):
    """One model of all tasks named.

    Args:
        paths: task files, folders and `hf://` handles of them, or one `.keras` file.
        backbone: str or None; as `find_backbone` takes it.

    Raises:
        ValueError: if there is no such file, or no backbone is named.
    """
    paths = [local_path(path) for path in paths]
    if any(path.suffix == MODEL_SUFFIX for path in paths):
        if len(paths) > 1:
            raise ValueError(
                "A .keras file is a whole model and stands alone. Received: "
                + ", ".join(map(str, paths))
            )
        return load_model(paths[0], compile=False)
    files = task_files(paths)
    return load_task(find_backbone(backbone, files), files)


def task_files(paths):
    """Task files, those in folders too.

    Raises:
        ValueError: if a path is neither.
    """
    found = []
    for path in map(local_path, paths):
        inside = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise ValueError(
                f"TASKS must be task files (*{SUFFIX}), a folder or hf:// handle of "
                f"them, or a {MODEL_SUFFIX} file. Received: {path}"
            )
        found += inside
    return found


def find_backbone(given, files):
    """The preset, folder or handle of the tasks' backbone.

    What is given, else `$KERAS_MEMVIT_BACKBONE`, else what `train` noted beside a file.

    Raises:
        ValueError: if none says.
    """
    import_quietly("keras_hub")
    found = given or os.environ.get(VARIABLE)
    for file in () if found else files:
        beside = file.with_suffix(".json")
        if beside.is_file():
            try:
                found = found or json.loads(beside.read_text()).get("backbone")
            except (ValueError, AttributeError):  # not written by `train`
                continue
    if not found:
        raise ValueError(
            "--backbone must name the backbone that the tasks were trained on (a "
            f"preset, a folder or a hf:// handle), or ${VARIABLE}. Received none, and "
            f"no file that says it stands beside {files[0]}"
        )
    return os.path.expanduser(found)
