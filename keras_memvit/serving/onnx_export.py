"""`export_onnx`: all tasks as one ONNX file, from any backend."""

import os
import pathlib

from keras_memvit.files.atomic import sync_file
from keras_memvit.files.leftovers import scratch_folder
from keras_memvit.models.compose import check_masked
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.serving.build import Request
from keras_memvit.serving.build import run
from keras_memvit.serving.requirements import require


def export_onnx(
    model: MemoryViT, path: str | os.PathLike, *, overwrite: bool = False
) -> pathlib.Path:
    """Exports all tasks as one ONNX file in float32.

    Takes `images` `(batch, H, W, 3)` in [0, 255], float32, the batch of any size,
    0 too, and gives every task's `<task>/logits` and `<task>/probabilities` (sigmoids
    where it is multi-label), a regression's `<task>/values`, and `base/...` where the
    backbone came with a classifier. Converted by tf2onnx from TensorFlow operations
    whatever the backend, checked against the model in onnxruntime, and renamed to
    `path` when whole.

    Args:
        model: a `MemoryViT`.
        path: the file, by custom `<name>.onnx`.
        overwrite: bool. Whether an existing file may be replaced.

    Returns:
        The file, a `pathlib.Path`.

    Raises:
        ValueError: if the model is not as above, or the file exists.
        ImportError: if TensorFlow, tf2onnx or onnxruntime is missing.
        RuntimeError: if the file answers otherwise than the model.

    Example:

    ```python
    keras_memvit.export_onnx(both, "people.onnx")
    ```
    """
    check_masked(model, "model")
    for module in ("tensorflow", "tf2onnx", "onnxruntime"):
        require(module, "`export_onnx` needs it")
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise ValueError(
            "`path` must be a file that does not exist yet, or pass "
            f"`overwrite=True`. Received: {path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent) as scratch:
        run(model, Request("onnx", str(scratch / "model.onnx")), scratch)
        sync_file(scratch / "model.onnx")
        (scratch / "model.onnx").replace(path)
    return path
