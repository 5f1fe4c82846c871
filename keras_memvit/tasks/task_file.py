"""A task as a file: a few hundred kB, no backbone weight in it.

A safetensors file with `class_token` (hidden_dim,), `memory` (num_layers,
num_memory_tokens, hidden_dim), what the task's readout adds, `head/kernel`
(num_features, num_classes) and `head/bias` (num_classes,); of a regression also
`target/mean` and `target/scale` (num_classes,). All are float32. One metadata
entry `keras_memvit`, a JSON object: format, library version, the task's spec, the
backbone's fingerprint, the fingerprints of the tasks that it sees, and the
SHA-256 of the tensors and of all this.
"""

import hashlib
import json
import pathlib
import warnings

import numpy as np

from keras_memvit.files.atomic import write_whole
from keras_memvit.tasks.spec import TaskSpec

FORMAT = 1
SUFFIX = ".safetensors"
ENTRY = "keras_memvit"
MAX_HEADER_BYTES = 1 << 20
CHECKSUMS = ("sha256", "card_sha256")  # of the tensors; of the card with the former
# What a card must hold; files written before there were checksums hold nothing else.
TYPES = {
    "format": int,
    "version": str,
    "task": dict,
    "attention": str,
    "backbone": str,
    "image_shape": list,
    "needs": dict,
}


def task_fingerprint(arrays, spec):
    """SHA-256 of what others see of a task: class token, memory, adapter, norms.

    Args:
        arrays: dict of the task's arrays.
        spec: its `TaskSpec`; what it reads itself counts too, where that is a choice.
    """
    digest = hashlib.sha256()
    prefixes = ("adapter/", "feature_norm/")
    adapter = sorted(name for name in arrays if name.startswith(prefixes))
    for name in ("class_token", "memory", *adapter):
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    if spec.reads is not None:
        digest.update(json.dumps(spec.reads).encode())
    if spec.kept is not None:
        digest.update(json.dumps(spec.kept).encode())
    return digest.hexdigest()


def write_task_file(path, arrays, card):
    """Writes a task file, whole or not at all; a former one is replaced in one step.

    Args:
        path: the file.
        arrays: dict of float32 arrays.
        card: dict, `"format"` is added.

    Raises:
        ValueError: if an array is not finite.
    """
    from safetensors.numpy import save

    broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(
            f"Task '{card['task']['name']}' has values that are not finite in "
            f"{broken}: it would be refused on loading. Train it again with a smaller "
            "learning rate."
        )
    card = seal({"format": FORMAT, **card}, arrays)
    write_whole(path, save(arrays, metadata={ENTRY: json.dumps(card)}))


def read_card(path):
    """The metadata of a task file, checked; no tensor is read.

    Returns:
        A dict; its `"task"` is a `TaskSpec`.

    Raises:
        ValueError: if the file is not a whole task file.
    """
    card = _parse_card(path, _open(path))
    try:
        spec = TaskSpec.from_config(card["task"])
    except (TypeError, ValueError) as error:
        raise _invalid(path, f"its task spec is not valid: {error}") from error
    return {**card, "task": spec}


def read_shapes(path):
    """Shapes by tensor name, as the header says; no tensor is read."""
    file = _open(path)
    names = list(file.keys())
    return {name: tuple(file.get_slice(name).get_shape()) for name in names}


def read_arrays(path, expected):
    """The tensors of a task file, checked.

    Args:
        path: the file.
        expected: dict from tensor name to shape, what the task's spec and the
            backbone ask for.

    Raises:
        ValueError: names the tensor, what was expected and what is there; or the
            checksum does not hold.
    """
    file = _open(path)
    card = _parse_card(path, file)
    names = sorted(file.keys())
    if expected is None:
        expected = read_shapes(path)
    if names != sorted(expected):
        missing = sorted(set(expected) - set(names))
        extra = sorted(set(names) - set(expected))[:5]
        raise _invalid(path, f"missing tensors {missing}, unexpected tensors {extra}")
    arrays = {}
    for name, shape in expected.items():
        part = file.get_slice(name)
        found = (tuple(part.get_shape()), part.get_dtype())
        if found != (shape, "F32"):
            raise _invalid(
                path,
                f"tensor '{name}' must have shape {shape} and dtype F32. "
                f"Received: shape {found[0]} and dtype {found[1]}",
            )
        arrays[name] = file.get_tensor(name)
    if CHECKSUMS[0] not in card:
        warnings.warn(
            f"{path} was written before task files had checksums, so damage to it can "
            "go unnoticed: save the task again with `save_task`",
            stacklevel=2,
        )
    elif card[CHECKSUMS[0]] != _tensors_sha256(arrays):
        raise _invalid(path, "it is damaged: the checksum of its tensors does not hold")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise _invalid(path, f"tensor '{name}' holds values that are not finite")
    if not np.all(arrays.get("target/scale", 1) > 0):
        raise _invalid(path, "tensor 'target/scale' holds values that are not positive")
    return arrays


def seal(card, arrays):
    """A card with the checksums of the tensors and of itself."""
    card = {**card, CHECKSUMS[0]: _tensors_sha256(arrays)}
    return {**card, CHECKSUMS[1]: _card_sha256(card)}


def _tensors_sha256(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], dtype="<f4")
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _card_sha256(card):
    card = {key: value for key, value in card.items() if key != CHECKSUMS[1]}
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _open(path):
    """Opens a file whose header is small and consistent with its length."""
    from safetensors import SafetensorError
    from safetensors import safe_open

    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"`path` must be a task file. There is none at {path}")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER_BYTES, max(path.stat().st_size - 8, 0)):
        raise _invalid(
            path, f"it is truncated or no safetensors file: header of {length} bytes"
        )
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:
        raise _invalid(
            path, f"it is truncated or no safetensors file: {error}"
        ) from error


def _parse_card(path, file):
    text = (file.metadata() or {}).get(ENTRY)
    if text is None:
        raise _invalid(path, f"it has no metadata entry '{ENTRY}'")
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"its metadata entry '{ENTRY}' is no JSON") from error
    if not isinstance(card, dict):
        raise _invalid(path, f"its metadata entry '{ENTRY}' is no JSON object")
    for key, kind in TYPES.items():
        if not isinstance(card.get(key), kind):
            raise _invalid(
                path, f"its metadata must have '{key}' of type {kind.__name__}"
            )
    if card["format"] != FORMAT:
        raise _invalid(
            path, f"it has format {card['format']}; this version reads format {FORMAT}"
        )
    if not any(key in card for key in CHECKSUMS) and set(card) == set(TYPES):
        return card  # of the time before checksums
    if card.get(CHECKSUMS[1]) != _card_sha256(card) or CHECKSUMS[0] not in card:
        raise _invalid(path, "it is damaged: the checksum of its card does not hold")
    return card


def _invalid(path, reason):
    return ValueError(f"{path} cannot be loaded as a task file: {reason}.")
