"""`push_task`: a task file, its table and report to the Hugging Face hub."""

import json
import os
import pathlib

from keras_memvit.files.hub import PREFIX
from keras_memvit.files.hub import import_hub
from keras_memvit.files.hub import one_line
from keras_memvit.tasks.model_card import model_card
from keras_memvit.tasks.task_file import read_arrays
from keras_memvit.tasks.task_file import read_card

REPORT = "report.html"


def push_task(
    path: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
) -> str:
    """Shares a task file at the Hugging Face hub.

    One commit holds the file, what `recipes.learn` wrote beside it (`<name>.json`,
    `report.html`), and a model card filled from both. A repository that is there
    already gets a new version. `load_task(backbone, "hf://user/name")` takes it back.

    Args:
        path: a task file, checked before anything is sent.
        repo_id: str, `"user/name"`.
        private: bool, for a repository that is made.
        commit_message: str.
        token: str. Defaults to the one that huggingface_hub has stored.

    Returns:
        The handle, `"hf://user/name"`.

    Raises:
        ValueError: if the file is damaged, or the hub refuses.
        ImportError: if huggingface_hub is not installed.

    Example:

    ```python
    keras_memvit.push_task("birds/birds.safetensors", "user/birds")
    ```
    """
    path = pathlib.Path(path).expanduser()
    card = read_card(path)
    read_arrays(path, None)
    hub = import_hub()
    beside = path.with_suffix(".json")
    found = _table(beside)
    files = {path.name: path}
    if found:
        files[beside.name] = beside
        report = path.with_name(REPORT)
        if report.is_file():
            files[REPORT] = report
    handle = PREFIX + str(repo_id).removeprefix(PREFIX)
    text = model_card(path, card, found, handle, REPORT in files)
    add = hub.CommitOperationAdd
    operations = [add("README.md", text.encode())]
    operations += [add(name, file) for name, file in files.items()]
    try:
        api = hub.HfApi(token=token)
        repo_id = handle.removeprefix(PREFIX)
        api.create_repo(repo_id, private=private, exist_ok=True)
        message = commit_message or f"Task '{card['task'].name}'"
        api.create_commit(repo_id, operations, commit_message=message)
    except Exception as error:  # of the hub's library, or its HTTP client's
        reason = one_line(error)
        raise ValueError(f"`repo_id` {repo_id!r} cannot be pushed: {reason}") from error
    return handle


def _table(path):
    """What `learn` wrote beside a task file, or an empty dict."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "table" in found else {}
