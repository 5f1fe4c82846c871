"""What `compile()` should pick: `jit_compile` and `steps_per_execution`.

    python benchmarks/compile_options.py                     # all backends
    python benchmarks/compile_options.py --backends jax

prints a table and writes `benchmarks/results/compile_options.json`: seconds an
epoch of `model.fit` for one task with 10 memory tokens a layer, ViT-S/14 at
98 px, batch 32, from images and from a store, over those of the default.
Settings take turns in one process; a time is the least of the rounds. Random
weights and images.
"""

import tempfile
import time

from children import HERE
from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report

BATCH, IMAGES, ROUNDS = 32, 128, 3
DEFAULT = "default"
SETTINGS = {
    DEFAULT: {},
    "jit_compile=True": {"jit_compile": True},
    "jit_compile=False": {"jit_compile": False},
    "steps_per_execution=4": {"steps_per_execution": 4},
}
# Keras' torch trainer has neither; torch.compile is what `True` means there.
SKIPPED = {"torch": ("steps_per_execution=4",)}


def measure(backend, size, *settings):
    """Least seconds an epoch, by source and setting."""
    import keras
    import numpy as np
    from speed_steps import SIZES
    from speed_steps import one_task_model

    import keras_memvit

    _, config = SIZES[size]
    backbone = keras_memvit.ViTBackbone(**config)
    rng = np.random.default_rng(0)
    shape = (IMAGES, *config["image_shape"])
    data = rng.integers(0, 256, shape, dtype="uint8"), np.arange(IMAGES) % 10
    found = {"images": {}, "store": {}}
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        store = keras_memvit.precompute(backbone, data, folder, verbose=0)
        models = {}
        for name in settings:
            if name not in SKIPPED.get(backend, ()):
                models[name], options = one_task_model(backbone), SETTINGS[name]
                # A constant rate: a schedule over each `fit` would be traced anew.
                models[name].compile(keras.optimizers.SGD(0.1, 0.9), **options)
        for source, arguments in (("images", data), ("store", (store,))):
            for _ in range(ROUNDS + 1):  # the first one compiles
                for name, model in models.items():
                    start = time.perf_counter()
                    model.fit(*arguments, batch_size=BATCH, verbose=0)
                    found[source].setdefault(name, []).append(
                        time.perf_counter() - start
                    )
    return {
        source: {name: min(times[1:]) for name, times in by_name.items()}
        for source, by_name in found.items()
    }


def table(report):
    lines = [
        "| backend | from | " + " | ".join(list(SETTINGS)[1:]) + " |",
        "|---|---|" + "---|" * (len(SETTINGS) - 1),
    ]
    for backend, by_source in report.items():
        for source, seconds in by_source.items():
            ratios = [
                f"{seconds[name] / seconds[DEFAULT]:.2f}" if name in seconds else "-"
                for name in list(SETTINGS)[1:]
            ]
            lines.append(f"| {backend} | {source} | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "compile_options")
    parser.add_argument("--size", default="vit_s14_98", help="of `speed_steps.py`")
    others = list(SETTINGS)[1:]
    parser.add_argument("--settings", nargs="+", choices=others, default=others)
    args = parser.parse_args()
    child = (args.size, DEFAULT, *args.settings)
    report = {
        backend: run_child(__file__, "--child", backend, *child, backend=backend)
        for backend in args.backends
    }
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
