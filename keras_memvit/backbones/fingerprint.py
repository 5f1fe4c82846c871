"""A backbone's fingerprint, and whether its weights are still those it is of."""

import hashlib
import json
import weakref

import keras
import numpy as np

from keras_memvit.backbones.architecture import architecture


def compute_fingerprint(backbone):
    """SHA-256 of the weights and of the configuration that they mean."""
    config = json.dumps(architecture(backbone), sort_keys=True)
    digest = hashlib.sha256(config.encode())
    for weight in backbone.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight), dtype="<f4")
        digest.update(f"{weight.name}{values.shape}".encode())
        digest.update(values.ravel())  # no copy
    return digest.hexdigest()


class RememberedFingerprint:
    """A fingerprint, computed anew when a weight has changed.

    That is seen without reading the weights, by what each backend does to change one.
    JAX puts another array in the variable's place. Torch counts a tensor's versions;
    what is written past that count (`tensor.data.mul_`) is not seen. TensorFlow has
    no such sign, but never writes into a buffer that a read tensor still holds: the
    tensors that were read are kept, and a changed weight has its values elsewhere.
    On an accelerator, where TensorFlow does not say where, nothing is remembered.
    """

    def __init__(self):
        self._value = None
        self._marks = []

    def of(self, backbone):
        """The fingerprint of the backbone as it is now."""
        marks = [_mark(weight) for weight in backbone.weights]
        if any(mark is None for mark in marks) or marks != self._marks:
            self._value = compute_fingerprint(backbone)
            self._marks = marks
        return self._value


class _Mark:
    """The object that holds a weight's values; equal while it holds the same."""

    def __init__(self, held, sign):
        self.held = held
        self.sign = sign

    def __eq__(self, other):
        return self.sign == other.sign and self.held() is other.held()


def _mark_jax(weight):
    array = weight.value
    return _Mark(weakref.ref(array), ())


def _mark_torch(weight):
    tensor = weight.value
    if tensor.is_inference():  # has no versions
        return None
    return _Mark(weakref.ref(tensor), (tensor._version, tensor.data_ptr()))


def _mark_tensorflow(weight):
    tensor = weight.value.read_value()
    if not hasattr(tensor, "_numpy") or "CPU" not in tensor.device:
        return None
    values = tensor._numpy()
    if np.ndim(values) == 0:  # a copy
        return None
    return _MarkHolding(tensor, values.__array_interface__["data"][0])


class _MarkHolding:
    """Where a weight's values are, and the tensor that keeps the place taken."""

    def __init__(self, tensor, address):
        self.tensor = tensor
        self.address = address

    def __eq__(self, other):
        return self.address == other.address


_mark = {
    "jax": _mark_jax,
    "torch": _mark_torch,
    "tensorflow": _mark_tensorflow,
}.get(keras.backend.backend(), lambda weight: None)
