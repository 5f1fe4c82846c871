"""`export_saved_model`: what TensorFlow Serving takes, from any backend."""

import json
import os
import pathlib
from collections.abc import Sequence

from keras_memvit.models.compose import check_masked
from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.unified.answer import ALL
from keras_memvit.serving.build import CARD
from keras_memvit.serving.build import Request
from keras_memvit.serving.build import run
from keras_memvit.serving.requirements import require
from keras_memvit.serving.server_configs import write_server_configs
from keras_memvit.serving.versions import BUILT
from keras_memvit.serving.versions import check_max_pixels
from keras_memvit.serving.versions import new_version
from keras_memvit.tasks.spec import BASE

DEFAULT = "serving_default"
DTYPES = ("float32", "bfloat16", "float16")


def export_saved_model(
    model: MemoryViT,
    path: str | os.PathLike,
    *,
    signatures: str | Sequence[str] = "all",
    labels: bool = True,
    image_bytes: bool = True,
    max_pixels: int = 50_000_000,
    warmup: bool = True,
    dtype: str | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Exports all tasks as one SavedModel that TensorFlow Serving takes as it is.

    Built of TensorFlow operations alone whatever the backend: from JAX and
    torch by a TensorFlow process that is started for it. Signatures:

    - `serving_default`: `images` `(B, H, W, 3)` float32 in [0, 255] to every
      task's `<task>/logits`, `<task>/probabilities` `(B, num_classes)` and
      `<task>/classes`, the up to 5 likeliest class names, and `base/...` where
      the backbone came with a classifier; a multi-label task's probabilities are
      sigmoids, and a regression gives `<task>/values` alone;
    - `<task>`: the same for one task, computing only it and those it sees;
    - `serving_default_bytes`, `<task>_bytes`: the same from `image_bytes`
      `(B,)`, JPEG or PNG strings, decoded and resized in the graph to the pixels
      that `data.load` gives: turned as EXIF says, transparency over white;
    - `all`, `all_bytes`, of a model that `unify` made: `all/...`, over the classes of
      all tasks, named `<task>/<class>`, and `unknown/scores` `(B, 2)`;
    - `<task>_classify`: serialised `tf.Example`s with `image_bytes`, for the
      server's Classify calls; not of a regression.

    Written under another name and, when whole and checked against the model, put in
    an old version's place in one step. Beside the versions it puts a starter
    `models.config` and `batching.config`, unless they are there.

    Args:
        model: a `MemoryViT`.
        path: `<folder>/<version>`, or `<folder>` for the next version in it.
            The folder's name is the name of the model on the server.
        signatures: `"all"`, or a list of names as above.
        labels: bool. Whether to give class names, as output and in `assets`.
        image_bytes: bool. Whether to write the signatures for encoded images.
        max_pixels: int. A request with an encoded image of more pixels is an
            error, found before anything is decoded. Defaults to `50_000_000`.
        warmup: bool. Whether to write warm-up requests; they need the package
            tensorflow-serving-api.
        dtype: type that weights are stored in: `"float32"` (default),
            `"bfloat16"` or `"float16"`; they compute in float32. What a
            smaller type changes is printed.
        overwrite: bool. Whether an existing version may be replaced.

    Returns:
        The version's folder, a `pathlib.Path`.

    Raises:
        ValueError: if an argument is not as above, or the version exists.
        ImportError: if TensorFlow or tensorflow-serving-api is missing.
        RuntimeError: if the SavedModel answers otherwise than the model.

    Example:

    ```python
    keras_memvit.export_saved_model(both, "saved_models/people/1")
    ```
    """
    check_masked(model, "model")
    require("tensorflow", "export_saved_model writes SavedModels with TensorFlow")
    if warmup:
        require("tensorflow_serving", "Warm-up requests need it (or pass warmup=False)")
    if dtype not in (None, *DTYPES):
        raise ValueError(f"`dtype` must be one of {DTYPES}. Received: dtype={dtype!r}")
    check_max_pixels(max_pixels)
    with new_version(path, overwrite) as (folder, scratch):
        request = Request(
            format="saved_model",
            path=str(scratch / BUILT),
            model_name=folder.resolve().parent.name,
            signatures=_signatures(model, signatures, image_bytes),
            labels=labels,
            max_pixels=max_pixels,
            warmup=warmup,
            dtype=dtype or "float32",
        )
        run(model, request, scratch)
        _report(scratch / BUILT, request, folder)
    write_server_configs(folder.parent, request.model_name)
    return folder


def _signatures(model, wanted, image_bytes):
    """Signature name -> (kind, task names)."""
    tasks = [spec.name for spec in model.specs]
    everything = tasks if model.classifier is None else [*tasks, BASE]
    found = {DEFAULT: ("images", everything)}
    candidates = [(name, ("images", [name])) for name in tasks]
    unified = getattr(model, "answer", None) is not None
    if unified:
        candidates.append((ALL, ("images", [ALL])))
    if image_bytes:
        if unified:
            candidates.append((f"{ALL}_bytes", ("bytes", [ALL])))
        candidates.append((f"{DEFAULT}_bytes", ("bytes", everything)))
        candidates += [(f"{name}_bytes", ("bytes", [name])) for name in tasks]
        candidates += [
            (f"{spec.name}_classify", ("classify", [spec.name]))
            for spec in model.specs
            if spec.kind != "regression"
        ]
    for name, signature in candidates:
        if name in found:
            raise ValueError(
                f"Two signatures would have the name '{name}': rename a task. "
                f"Received: a model of the tasks {tasks}"
            )
        found[name] = signature
    if wanted == "all":
        return found
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    unknown = [name for name in names if name not in found]
    if unknown or not names:
        raise ValueError(
            f"`signatures` must be 'all' or a list of names among {list(found)}. "
            f"Received: {names}"
        )
    return {name: found[name] for name in names}


def _report(built, request, folder):
    size = sum(file.stat().st_size for file in built.rglob("*") if file.is_file())
    print(f"{folder}: {len(request.signatures)} signatures, {size / 1e6:.1f} MB")
    if request.dtype == "float32":
        return
    card = json.loads((built / CARD).read_text())
    for name, difference in card["largest_difference"].items():
        same = card["same_class"].get(name)
        kept = (
            f"; {same:.0%} of 8 random images keep their class"
            if same is not None
            else ""
        )
        what = "values" if same is None else "logits"
        print(
            f"{name}: {request.dtype} weights change {what} by up to {difference:.2g}"
            f"{kept}"
        )
