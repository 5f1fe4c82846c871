"""Task files that come and go over HTTP, where a token guards the server."""

import re

from keras_memvit.files.atomic import write_whole
from keras_memvit.files.leftovers import scratch_folder
from keras_memvit.serving.server.errors import RequestError
from keras_memvit.tasks.task_file import SUFFIX

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,200}")


def put(service, name, data):
    """Checks a task file whole and puts it into the folder.

    Args:
        service: a `Service`.
        name: str, the task's.
        data: the file's bytes.

    Raises:
        RequestError: without a token (403), or if it is not such a file (400).
    """
    folder = _guarded(service, name)
    with scratch_folder(folder) as scratch:
        path = scratch / f"{name}{SUFFIX}"
        path.write_bytes(data)
        try:
            spec = service.tasks.bank.check(path, tensors=True)
        except (ValueError, OSError) as error:
            reason = str(error).replace(str(path), "the file")
            raise RequestError(400, reason) from None
    if spec.name != name:
        raise RequestError(400, f"the file is of the task {spec.name!r}, not {name!r}")
    write_whole(str(folder / f"{name}{SUFFIX}"), data)
    service.tasks.refresh()
    return {"task": name, "bytes": len(data)}


def delete(service, name):
    """Takes a task's file away."""
    folder = _guarded(service, name)
    path = folder / f"{name}{SUFFIX}"
    if not path.is_file():
        raise RequestError(404, f"there is no file of the task {name!r}")
    path.unlink()
    service.tasks.refresh()
    return {"task": name}


def _guarded(service, name):
    if not service.settings.token:
        raise RequestError(403, "files are taken by a server with a token only")
    if not _NAME.fullmatch(name):
        raise RequestError(400, "a task's name has letters, digits, '_' and '-'")
    return service.tasks.folder
