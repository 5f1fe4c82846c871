"""What a user waits for before the first answer: import, build, first steps.

    python benchmarks/startup.py                       # all backends
    python benchmarks/startup.py --backends jax --rounds 1
    python benchmarks/startup.py --clock cpu           # on a busy machine

prints a table and writes `benchmarks/results/startup.json`, in seconds: `import keras`
with its backend, and `import keras_memvit` after it; `build` of a ViT-B/16 at 224 px
with 100 tasks, from a `ViTBackbone` and from KerasHub's backbone, whose weights are
copied; with one task on it, the first `predict` and the first `fit` step, and later
ones. Random weights. Each round is a process of its own, and a figure the least of the
rounds. Modules are imported from bytecode, as installed packages are. `--clock cpu`
confines each process to one core and counts its CPU time.
"""

import os
import tempfile
import time

from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(size, num_tasks, clock):
    """Seconds of each step, in the order of a user's first minute."""
    clock, seconds = CLOCKS[clock], {}

    def timed(name, function, *arguments, **options):
        start = clock()
        result = function(*arguments, **options)
        seconds[name] = clock() - start
        return result

    timed("import keras", __import__, "keras")
    keras_memvit = timed("import keras_memvit", __import__, "keras_memvit")
    import numpy as np
    from speed_steps import SIZES
    from speed_steps import original_backbone

    batch, config = SIZES[size]
    tasks = {f"task_{i}": 10 for i in range(int(num_tasks))}
    original = original_backbone(size)
    if original is not None:
        timed("build from KerasHub", keras_memvit.build, original, tasks)
        del original
    backbone = keras_memvit.ViTBackbone(**config)
    timed("build", keras_memvit.build, backbone, tasks)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *config["image_shape"]), dtype="uint8")
    one = keras_memvit.build(backbone, {"task": 10})
    for name in ("first", "later"):
        timed(f"{name} predict", one.predict, images, verbose=0)
    seconds["first fit step"], seconds["later fit step"] = fit_steps(one, images, clock)
    return seconds


def fit_steps(model, images, clock):
    """Seconds from `fit` to the end of its first step, and of the least later one."""
    import keras
    import numpy as np

    ends = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            float(logs["loss"])  # waits for the step
            ends.append(clock())

    steps = 4
    labels = np.arange(steps * len(images)) % 10
    options = {"batch_size": len(images), "callbacks": [Clock()], "verbose": 0}
    model.compile()
    start = clock()
    model.fit(np.tile(images, (steps, 1, 1, 1)), labels, **options)
    return ends[0] - start, float(np.diff(ends).min())


def least(rounds):
    """Of each figure the least."""
    return {name: min(found[name] for found in rounds) for name in rounds[0]}


def table(report):
    names = list(next(iter(report.values())))
    lines = ["| | " + " | ".join(report) + " |", "|---" * (len(report) + 1) + "|"]
    for name in names:
        cells = [f"{found[name]:.2f}" for found in report.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "startup")
    parser.add_argument("--size", default="vit_b16_224", help="of `speed_steps.py`")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()
    one_core = args.clock == "cpu"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        for backend in args.backends:
            child = ("--child", args.size, args.tasks, args.clock)
            # The first one writes the bytecode.
            rounds = [
                run_child(__file__, *child, backend=backend, one_core=one_core)
                for _ in range(args.rounds + 1)
            ]
            report[backend] = least(rounds[1:])
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
