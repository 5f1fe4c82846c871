"""A frozen backbone in fewer bytes a weight: bfloat16, or int8 products."""

import contextlib
import gc

import keras

from keras_memvit.backbones.fingerprint import compute_fingerprint

QUANTIZATIONS = ("int8",)


def check_quantization(quantize):
    """Raises a `ValueError` unless it is None or one of `QUANTIZATIONS`."""
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise ValueError(
            f"`quantize` must be None or one of {QUANTIZATIONS}. "
            f"Received: quantize={quantize!r}"
        )


def compact(backbone, dtype=None, quantize=None, in_place=False):
    """A replica whose weights take fewer bytes; it knows whose replica it is.

    Args:
        backbone: a `ViTBackbone`.
        dtype: optional policy, `"bfloat16"` or `"float16"`: all weights are of that
            type, two bytes each.
        quantize: optional `"int8"`: the kernels of all linear layers of the blocks
            are int8, with a float scale an output; Keras quantises what enters them
            token by token.
        in_place: bool. Whether nobody else has the backbone, so that it is quantised
            itself where its type stays.

    Returns:
        A `ViTBackbone` whose `fingerprint` is the original's.
    """
    if backbone.quantization is not None and quantize is None and dtype is None:
        return backbone
    if in_place and dtype is None:
        other = backbone
        # A remembered one would hold the float kernels on TensorFlow.
        other.source_fingerprint = compute_fingerprint(other)
    else:
        changes = {} if dtype is None else {"dtype": dtype}
        fingerprint = backbone.fingerprint()
        other = backbone.replicate(source_fingerprint=fingerprint, **changes)
    if quantize is not None and other.quantization is None:
        quantize_blocks(other, quantize)
        other.quantization = quantize
    return other


def quantize_blocks(backbone, mode):
    """Quantises the linear layers of a `ViTBackbone`'s blocks, in place."""
    with _quick_collections():
        for block in backbone.blocks:
            for layer in block._flatten_layers(include_self=False):
                if isinstance(layer, keras.layers.Dense):
                    layer.quantize(mode)
    # On torch every layer around them has a list of parameters, which would keep the
    # float kernels in memory; Keras makes it anew when it is asked for.
    for layer in backbone._flatten_layers():
        if hasattr(layer, "_torch_params"):
            del layer._torch_params


@contextlib.contextmanager
def _quick_collections():
    """Keeps what is there by now out of garbage collections.

    Keras collects garbage for each kernel that it replaces, 72 times in a ViT-B, and
    each time walks through every object of the process. The kernels need it not: the
    last reference frees them.
    """
    ours = not gc.get_freeze_count()
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


def is_half(dtype):
    """Whether a dtype or policy has variables of two bytes."""
    if dtype is None:
        return False
    return keras.dtype_policies.get(dtype).name in ("bfloat16", "float16")
