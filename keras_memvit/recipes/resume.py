"""Training that goes on where it was killed."""

import hashlib
import json
import os
import pathlib

import keras
import numpy as np

from keras_memvit.files.atomic import write_whole
from keras_memvit.training.stopping_state import StoppingState

ENTRY = "keras_memvit_training"
FORMAT = 1


def resume(path: str | os.PathLike, *, keep: bool = False) -> keras.callbacks.Callback:
    """A callback for `fit`: killed at any moment and run again, it goes on.

    After each epoch the tasks, the optimiser's state and the epoch are written to one
    file, which is replaced in one step; the backbone is not in it. `fit` begins
    after the last whole epoch when the file is there. Where the data decide their order
    by the epoch (a `StateStore`, `keras_memvit.data.load` and `mix`, a
    `keras.utils.PyDataset` with `set_epoch`), training ends where an uninterrupted one
    does; arrays are shuffled anew.

    What other callbacks than `TaskEarlyStopping` remember is not in the file.

    Args:
        path: the file; its folder is made if need be.
        keep: bool. Whether the file stays when training has ended: `fit`, run again,
            has nothing to do then. By default it is deleted.

    Returns:
        A `keras.callbacks.Callback`; the last of several.

    Raises:
        ValueError: when training begins, if the file is damaged or of another
            training (tasks, backbone, optimiser).

    Example:

    ```python
    model.fit(store, epochs=50, callbacks=[keras_memvit.recipes.resume("run.resume")])
    ```
    """
    return _Resume(path, keep)


class _Resume(keras.callbacks.Callback):
    def __init__(self, path, keep):
        super().__init__()
        self.path = pathlib.Path(path)
        self.keep = keep

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            epoch, stopping = _read(self.path, self._of(), self._variables())
            optimizer.stopping.read(stopping)
            # Where Keras' own backup says where `fit` begins; None, 0 are "anywhere".
            self.model._initial_epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        begin = epoch + 1
        if self.model.stop_training:  # another callback has ended it
            begin = max(begin, self.params.get("epochs") or 0)
        arrays = {
            name: np.array(keras.ops.convert_to_numpy(variable), order="C")
            for name, variable in self._variables().items()
        }
        arrays.update(self.model.optimizer.stopping.arrays())
        _write(self.path, {**self._of(), "epoch": begin}, arrays)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None  # the next `fit` begins anew
        if not self.keep:
            self.path.unlink(missing_ok=True)

    def _of(self):
        """What the training is of, as JSON gives it back."""
        model = self.model
        of = {
            "format": FORMAT,
            "tasks": [spec.get_config() for spec in model.specs],
            "backbone": model.backbone.fingerprint(),
            "optimizer": type(model.optimizer.base_optimizer).__name__,
        }
        return json.loads(json.dumps(of))

    def _variables(self):
        found = {
            f"{name}/{part}": variable
            for name, task in self.model.task_layers.items()
            for part, variable in task.variables_by_name.items()
        }
        for i, variable in enumerate(self.model.optimizer.lasting_variables):
            found[f"optimizer/{i}"] = variable
        return found


def _write(path, card, arrays):
    from safetensors.numpy import save

    card = {**card, "sha256": _checksum(card, arrays)}
    write_whole(path, save(arrays, metadata={ENTRY: json.dumps(card)}))


def _read(path, of, variables):
    """Gives the variables their values.

    Returns:
        The epoch to begin with, and arrays of what `TaskEarlyStopping` remembers.
    """
    from safetensors import SafetensorError
    from safetensors import safe_open
    from safetensors.numpy import load

    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})[ENTRY])
        arrays = load(path.read_bytes())
        checksum = card.pop("sha256")
        holds = checksum == _checksum(card, arrays)
        epoch = card.pop("epoch")
    except (
        SafetensorError,
        AttributeError,
        KeyError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise _refused(path, f"is damaged ({error!r:.200})") from error
    if not holds:
        raise _refused(path, "is damaged: its checksum does not hold")
    for spec in card.get("tasks") or ():
        spec.setdefault("kind", "single_label")  # of files before there were others
    if differing := [key for key, value in of.items() if card.get(key) != value]:
        raise _refused(path, f"is of another training, which differs in {differing}")
    owned = list(filter(StoppingState.owns, arrays))
    stopping = {name: arrays.pop(name) for name in owned}
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise _refused(path, "is of another training: its tensors have other shapes")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return epoch, stopping


def _checksum(card, arrays):
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}{array.shape}{array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()


def _refused(path, what):
    return ValueError(
        f"{path} {what}. Delete it to begin anew, or give `resume` another path"
    )
