"""An epoch from a store of frozen states against an ordinary epoch.

    python benchmarks/store.py                              # all installed backends
    python benchmarks/store.py --backends jax --sizes vit_s14_98

prints a table and writes `benchmarks/results/store.json`: `model.fit` of one
task with 10 memory tokens a layer, without and with the side readout, from images and
from `precompute`'s store of the same images (bfloat16, on this machine's disk), in one
process; a time is the median over the epochs after the first. Random weights and
images. "Read ahead" is the plain task's epoch from the store with two threads that
read batches ahead, over the default, which reads in the training thread.
"""

import contextlib
import copy
import io
import pathlib
import statistics
import tempfile
import time

from children import HERE
from children import main_or_child
from children import on_backends
from children import parser_of
from children import write_report
from clock import epoch_clock

IMAGES = {"vit_s14_98": 384, "vit_b16_224": 128, "small": 64}
DEFAULT = ("vit_s14_98", "vit_b16_224")
BATCH = 32
EPOCHS = {"images": 2, "store": 6, "read_ahead": 6}
READOUTS = {"side_": "side", "": "class_token"}  # by what a time's name begins with


def measure(size):
    """Seconds an epoch from images and from the store, and bytes an image."""
    import numpy as np
    from speed_steps import SIZES
    from speed_steps import one_task_model

    import keras_memvit

    _, config = SIZES[size]
    backbone = keras_memvit.ViTBackbone(**config)
    rng = np.random.default_rng(0)
    shape = (IMAGES[size], *config["image_shape"])
    data = rng.integers(0, 256, shape, dtype="uint8"), np.arange(IMAGES[size]) % 10
    found = {}
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            start = time.perf_counter()
            store = keras_memvit.precompute(backbone, data, folder, batch_size=BATCH)
            found["precompute"] = time.perf_counter() - start
        files = pathlib.Path(folder).glob("*.npy")
        found["bytes"] = sum(file.stat().st_size for file in files) / IMAGES[size]
        ahead = copy.copy(store)
        ahead.batches = lambda *args, **options: _with_threads(store, *args, **options)
        sources = {"images": data, "store": (store,), "read_ahead": (ahead,)}
        for prefix, readout in READOUTS.items():
            model = one_task_model(backbone, readout=readout)
            for name, source in sources.items():
                if name != "read_ahead" or not prefix:
                    found[prefix + name] = _epoch(model, source, EPOCHS[name])
    return found


def _epoch(model, source, epochs):
    """Seconds of an epoch, without the first."""
    clock = epoch_clock()
    options = {"batch_size": BATCH, "verbose": 0}
    model.fit(*source, epochs=epochs, callbacks=[clock], **options)
    return statistics.median(clock.epochs[1:])


def _with_threads(store, *args, **options):
    """The store's batches, read ahead by two threads."""
    batches = store.batches(*args, **options)
    batches.workers, batches.max_queue_size = 2, 3
    return batches


def table(report):
    lines = [
        "| backend | size | epochs from the store for one from images "
        "| with the side readout | read ahead | kB an image |",
        "|---|---|---|---|---|---|",
    ]
    for size, by_backend in report.items():
        for backend, found in by_backend.items():
            plain, side = (
                found[f"{readout}images"] / found[f"{readout}store"]
                for readout in ("", "side_")
            )
            lines.append(
                f"| {backend} | {size} | {plain:.1f} | {side:.1f} "
                f"| {found['read_ahead'] / found['store']:.2f} "
                f"| {found['bytes'] / 1e3:.0f} |"
            )
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "store")
    parser.add_argument("--sizes", nargs="+", choices=IMAGES, default=DEFAULT)
    args = parser.parse_args()
    report = {size: on_backends(__file__, args.backends, size) for size in args.sizes}
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
