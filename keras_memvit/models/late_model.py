"""A model that is made when it is first used: tasks loaded one after another.

Keras takes milliseconds a task to make a model, so a chain of `load_task` would take
the square of its length. Of a model in such a chain nothing is used but its parts,
and values that are there already say all of it.
"""

import dataclasses
import threading

import keras
from keras import ops

from keras_memvit.models.image_embedding import require_same_embedding
from keras_memvit.models.memory_vit import MemoryViT

PARTS = "_late_parts"
LOCK = threading.RLock()  # of all models: making one is rare


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a model is made of.

    Attributes:
        backbone, specs, classifier: the model's.
        values: dict by task name of arrays by their names in a task file; never
            written into.
        frozen: tuple of names of the tasks that are not to be trained.
    """

    backbone: object
    specs: list
    classifier: object
    values: dict
    frozen: tuple


def parts_of(model):
    """A model's `Parts`; one that is not made yet stays so."""
    if type(model) is _LateModel:
        with LOCK:
            found = object.__getattribute__(model, "__dict__").get(PARTS)
        if found is not None:
            return found[0]
    values = {name: task.arrays() for name, task in model.task_layers.items()}
    frozen = tuple(model.frozen_tasks)
    return Parts(model.backbone, model.specs, model.classifier, values, frozen)


def make_later(parts, older):
    """A `MemoryViT` of these parts.

    Made at once where something is open around the call that says how (a device, a
    distribution, a strategy, a precision, a graph): it would be closed later.

    Args:
        parts: `Parts`.
        older: names of the tasks that count as older ones, see
            `MemoryViT.remember`.
    """
    require_same_embedding(parts.specs, parts.classifier)
    arguments = (parts.backbone, parts.specs, parts.classifier, parts.frozen)
    if _open_around() != _in_thread(_open_around):
        model = MemoryViT(*arguments, values=parts.values)
        model.remember({name: parts.values[name] for name in older})
        return model
    model = MemoryViT.__new__(MemoryViT, *arguments)
    older_backbone = parts.backbone.stored_fingerprint()
    vars(model)[PARTS] = (parts, tuple(older), older_backbone)
    object.__setattr__(model, "__class__", _LateModel)
    return model


class _LateModel(MemoryViT):
    """A `MemoryViT` until anything of it is asked for; from then on one like others."""

    def __getattribute__(self, name):
        if name == "__class__":  # `isinstance` asks for nothing more
            return MemoryViT
        own = object.__getattribute__(self, "__dict__")
        if own.get("_maker") != threading.get_ident():
            with LOCK:
                if PARTS in own:
                    _in_thread(lambda: _make(self, own))
        return MemoryViT.__getattribute__(self, name)


def _make(model, own):
    parts, older, older_backbone = own[PARTS]
    own["_maker"] = threading.get_ident()
    try:
        arguments = (parts.backbone, parts.specs, parts.classifier, parts.frozen)
        MemoryViT.__init__(model, *arguments, values=parts.values)
        own["older_tasks"] = {name: parts.values[name] for name in older}
        own["older_backbone"] = older_backbone
    finally:
        del own["_maker"]
    del own[PARTS]
    object.__setattr__(model, "__class__", MemoryViT)


def _open_around():
    """What a new variable would depend on, besides its values."""
    x = ops.zeros((1,))
    found = [type(x), str(getattr(x, "device", None))]
    found += [keras.config.dtype_policy().name, keras.distribution.distribution()]
    if keras.backend.backend() == "torch":
        found.append(x.is_inference())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found.append(tf.distribute.has_strategy())
    return found


def _in_thread(call):
    """What a call returns in a new thread, where nothing is open around it."""
    results, errors = [], []

    def run():
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
