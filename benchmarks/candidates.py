"""Many candidates trained side by side from one store against one of them.

    python benchmarks/candidates.py                          # all installed backends
    python benchmarks/candidates.py --backends jax --readouts side

prints a table and writes `benchmarks/results/candidates.json`: `model.fit` of 1 and of
16 tasks that differ in their learning rates, as `recipes.sweep` trains them, from
`precompute`'s store of random images by a backbone of random weights. A step is the
median over the epochs after the first; the first is the first step, which traces and
compiles.
"""

import statistics
import tempfile

from children import HERE
from children import main_or_child
from children import on_backends
from children import parser_of
from children import write_report
from clock import epoch_clock
from sizes import SMALL
from sizes import vit

SIZES = {"small": (SMALL, 32), "vit_s14_98": (vit(98, 14, 384), 256)}  # images
READOUTS = {"memory": "class_token", "deep": "deep", "side": "side"}
COUNTS = (1, 16)
BATCH = 32
EPOCHS = 4


def measure(size, *readouts):
    """Seconds of the first step and of a later one, by readout and number."""
    import numpy as np

    import keras_memvit

    config, num_images = SIZES[size]
    backbone = keras_memvit.ViTBackbone(**config)
    shape = (num_images, *config["image_shape"])
    images = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    data = images, np.arange(num_images) % 10
    found = {}
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        store = keras_memvit.precompute(backbone, data, folder, verbose=0)
        for readout in readouts:
            for count in COUNTS:
                names = [f"candidate_{i}" for i in range(count)]
                specs = [
                    keras_memvit.TaskSpec(n, 10, readout=READOUTS[readout])
                    for n in names
                ]
                model = keras_memvit.build(backbone, specs)
                rates = dict(zip(names, np.geomspace(1e-4, 1e-2, count)))
                model.compile(
                    keras_memvit.recipes.adamw_optimizer(1.0),
                    learning_rate_multipliers=rates,
                )
                clock = epoch_clock()
                model.fit(
                    store.labelled_for(names),
                    batch_size=BATCH,
                    epochs=EPOCHS,
                    verbose=0,
                    callbacks=[clock],
                )
                step = statistics.median(clock.epochs[1:]) / (num_images // BATCH)
                row = {"first": clock.first, "step": step}
                found.setdefault(readout, {})[str(count)] = row
    return found


def table(report):
    one, many = map(str, COUNTS)
    lines = [
        f"| backend | readout | step of {many} over one's | first step of {one}, s "
        f"| first step of {many}, s |",
        "|---|---|---|---|---|",
    ]
    for by_backend in report.values():
        for backend, by_readout in by_backend.items():
            for readout, found in by_readout.items():
                ratio = found[many]["step"] / found[one]["step"]
                lines.append(
                    f"| {backend} | {readout} | {ratio:.1f} "
                    f"| {found[one]['first']:.1f} | {found[many]['first']:.1f} |"
                )
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "candidates")
    parser.add_argument("--size", choices=SIZES, default="vit_s14_98")
    parser.add_argument(
        "--readouts", nargs="+", choices=READOUTS, default=list(READOUTS)
    )
    args = parser.parse_args()
    found = on_backends(__file__, args.backends, args.size, *args.readouts)
    report = {args.size: found}
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
