"""What a task is called where nobody said."""

import os
import pathlib
import re
from typing import Any


def task_name(name: str | None, source: Any) -> str:
    """The name given, else one made of the source's, else `"task"`."""
    if name is not None:
        return name
    if isinstance(source, (str, os.PathLike)):
        words = re.sub(r"[^A-Za-z0-9_-]+", "_", pathlib.Path(source).resolve().name)
        return words.strip("_-") or "task"
    return "task"
