"""Small integers as text, a few bits each: what a task's card holds many of."""

import base64

import numpy as np


def pack(values, bits):
    """Ints below `2 ** bits`, lowest bit first, as base64.

    Args:
        values: array of ints, any shape.
        bits: int.
    """
    values = np.ravel(np.asarray(values, "uint8"))
    digits = (values[:, None] >> np.arange(bits, dtype="uint8")) & 1
    return base64.b64encode(np.packbits(digits, bitorder="little")).decode()


def unpack(text, bits):
    """The inverse of `pack`: uint8 `(n,)`, with zeros behind to a whole byte.

    Raises:
        ValueError: if it is no base64.
    """
    data = np.frombuffer(base64.b64decode(text, validate=True), "uint8")
    digits = np.unpackbits(data, bitorder="little")
    digits = digits[: len(digits) // bits * bits].reshape(-1, bits)
    return (digits << np.arange(bits, dtype="uint8")).sum(axis=1).astype("uint8")
