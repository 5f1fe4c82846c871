"""A bank as one SavedModel whose requests name the tasks they want."""

import dataclasses

import numpy as np

from keras_memvit.models.memory_vit import MemoryViT
from keras_memvit.models.task_weights import MEAN
from keras_memvit.models.task_weights import SCALE
from keras_memvit.serving.build import Request
from keras_memvit.serving.build import run
from keras_memvit.serving.requirements import require
from keras_memvit.serving.server_configs import write_server_configs
from keras_memvit.serving.versions import BUILT
from keras_memvit.serving.versions import check_max_pixels
from keras_memvit.serving.versions import new_version

DEFAULT = "serving_default"


def export_bank(bank, path, image_bytes, max_pixels, overwrite):
    """What `TaskBank.export_saved_model` does, which see."""
    require("tensorflow", "export_saved_model writes SavedModels with TensorFlow")
    check_max_pixels(max_pixels)
    entries = bank.entries
    if not entries:
        raise ValueError("The bank holds no task to export: load some before")
    signatures = [DEFAULT, f"{DEFAULT}_bytes"] if image_bytes else [DEFAULT]
    with new_version(path, overwrite) as (folder, scratch):
        request = Request(
            format="saved_bank",
            path=str(scratch / BUILT),
            model_name=folder.resolve().parent.name,
            signatures=dict.fromkeys(signatures, ["images", list(entries)]),
            max_pixels=max_pixels,
        )
        run(_model(bank.backbone, entries), request, scratch)
    write_server_configs(folder.parent, request.model_name)
    return folder


def _model(backbone, entries):
    """A `MemoryViT` of a bank's tasks, whose heads answer as the bank's do."""
    specs = [
        dataclasses.replace(entry.spec, head_inputs=None, kept=None)
        for entry in entries.values()
    ]
    values = {}
    for spec, entry in zip(specs, entries.values()):
        units = {}
        if spec.kind == "regression":  # the head has them already
            zeros = np.zeros(spec.num_classes, "float32")
            units = {MEAN: zeros, SCALE: zeros + 1}
        values[spec.name] = {**entry.arrays, **units}
    return MemoryViT(backbone, specs, None, values=values)
