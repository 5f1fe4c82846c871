"""What pages and docstrings take for granted: a reader's data and models."""

import contextlib
import types

import keras
import numpy as np
import pytest
from processes import free_ports

import keras_memvit


@contextlib.contextmanager
def as_torchrun():
    """What `torchrun --nproc-per-node 1` has set, and no process group afterwards."""
    import torch.distributed

    with pytest.MonkeyPatch.context() as patch:
        found = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        for name, value in {**found, "MASTER_PORT": free_ports(1)[0]}.items():
            patch.setenv(name, value)
        yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def what_a_reader_has(backbone, images):
    """The names that pages take for granted: small data, and models by task."""
    hub = types.ModuleType("keras_hub")  # presets need the network
    preset = types.SimpleNamespace(from_preset=lambda name: backbone)
    hub.models = types.SimpleNamespace(Backbone=preset)
    digits, faces = np.arange(8), np.arange(8) % 2
    models = {
        name: keras_memvit.build(backbone, {name: count})
        for name, count in (("digits", 10), ("faces", 2))
    }
    for model in models.values():
        model.compile()
    return hub, {
        "__name__": "stranger",  # whose readout a page and the tests define
        "keras": keras,
        "keras_memvit": keras_memvit,
        "backbone": backbone,
        "images": images,
        "pictures": np.concatenate([images, images]),
        "labels": np.arange(16) % 2,
        "digit_labels": np.arange(16) % 10,
        "train_images": images,
        "train_labels": digits,
        "val_images": images,
        "val_labels": digits,
        "train_a": (images, digits),
        "val_a": (images, digits),
        "train_b": (images, faces),
        "val_b": (images, faces),
        **models,
        "both": keras_memvit.concatenate(list(models.values())),
    }
