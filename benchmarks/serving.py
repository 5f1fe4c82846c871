"""What serving many tasks costs, measured on exported SavedModels.

    python benchmarks/serving.py

prints three tables and writes `benchmarks/results/serving.json`: ViT-S/14 at
98 px, 10 memory tokens a layer, 10 classes, random weights, TensorFlow on this
machine's CPU, XLA off as on the server.

- latency of one call of batch 1 and 8 that answers K tasks, over the bare
  backbone exported the same way, and over K models of one task in turn;
- size on disk and time to load with every signature, over the backbone's;
- images a second from 16 callers of single images, with batching (the
  scheduler that TensorFlow Serving uses too) and without.

Times are medians over rounds in which all take turns, in one process.
"""

import concurrent.futures
import contextlib
import io
import os
import pathlib
import statistics
import tempfile
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from children import parser_of
from children import write_report
from speed_steps import SIZES

import keras_memvit
from keras_memvit.serving.servable import Servable

NUM_TASKS = (1, 10, 50)
STORED = 20
BATCHES = (1, 8)
CALLERS = 16


def export_models(folder, backbone, counts):
    """Servables of K tasks with one signature, and the backbone alone."""
    for number in counts:
        model = model_of(backbone, number)
        export(model, folder / f"tasks_{number}" / "1", signatures="serving_default")
    servable = Servable(model_of(backbone, 1))
    servable.module.tasks_stored = []

    @tf.function(input_signature=servable.base_states.input_signature)
    def tokens(images):
        states, x = servable.base_states(images)
        return {"tokens": servable.base_tokens(states, x)}

    signatures = {"serving_default": tokens.get_concrete_function()}
    tf.saved_model.save(servable.module, str(folder / "bare" / "1"), signatures)


def model_of(backbone, number):
    tasks = {f"task_{i}": 10 for i in range(number)}
    return keras_memvit.build(backbone, tasks, num_memory_tokens=10)


def export(model, path, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        keras_memvit.export_saved_model(
            model, path, labels=False, warmup=False, **options
        )


def latencies(folder, shape, counts, rounds):
    """Median seconds a call, by model and batch."""
    names = ["bare", *(f"tasks_{number}" for number in counts)]
    loaded = {name: tf.saved_model.load(str(folder / name / "1")) for name in names}
    calls = {
        name: model.signatures["serving_default"] for name, model in loaded.items()
    }
    found = {}
    for batch in BATCHES:
        images = tf.random.uniform((batch, *shape), maxval=255.0, seed=0)
        times = {name: [] for name in names}
        for i in range(rounds + 3):
            for name in names:
                start = time.perf_counter()
                calls[name](images=images)
                if i >= 3:
                    times[name].append(time.perf_counter() - start)
        found[batch] = {name: statistics.median(t) for name, t in times.items()}
    return found


def sizes(folder, backbone, stored):
    """Bytes and seconds to load of tasks with every signature, and bare."""
    all_signatures = f"stored_{stored}"
    export(model_of(backbone, stored), folder / all_signatures / "1")
    found = {}
    for name in ("bare", all_signatures):
        path = folder / name / "1"
        start = time.perf_counter()
        model = tf.saved_model.load(str(path))
        seconds = time.perf_counter() - start
        files = [file for file in path.rglob("*") if file.is_file()]
        found[name] = {
            "bytes": sum(file.stat().st_size for file in files),
            "seconds": seconds,
            "signatures": len(model.signatures),
        }
    return found


def throughput(folder, shape, count, calls):
    """Images a second from concurrent callers, with and without batching."""
    model = tf.saved_model.load(str(folder / f"tasks_{count}" / "1"))
    single = model.signatures["serving_default"]

    @tf.function(input_signature=[tf.TensorSpec((None, *shape))])
    def batched(images):
        @tf.nondifferentiable_batch_function(
            num_batch_threads=1,
            max_batch_size=CALLERS,
            batch_timeout_micros=2000,
            allowed_batch_sizes=[1, 2, 4, 8, 16],
        )
        def answer(images):
            outputs = single(images=images)
            return [outputs[name] for name in sorted(outputs)]

        return answer(images)

    image = tf.random.uniform((1, *shape), maxval=255.0, seed=0)
    found = {}
    for name, call in (
        ("without", lambda: single(images=image)),
        ("with", lambda: batched(image)),
    ):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(lambda _, call=call: call(), range(2 * CALLERS)))
            start = time.perf_counter()
            list(pool.map(lambda _, call=call: call(), range(calls)))
            found[name] = calls / (time.perf_counter() - start)
    return found


def tables(report):
    """The three Markdown tables."""
    lines = [
        "| batch | tasks | over bare | over one model a task |",
        "|---|---|---|---|",
    ]
    for batch, times in report["latency"].items():
        for name in list(times)[1:]:
            seconds, number = times[name], int(name.removeprefix("tasks_"))
            apart = number * times["tasks_1"]
            lines.append(
                f"| {batch} | {number} | {seconds / times['bare']:.2f} "
                f"| {seconds / apart:.3f} |"
            )
    lines += [
        "",
        "| | MB | over bare | signatures | seconds to load |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["size"].items():
        ratio = row["bytes"] / report["size"]["bare"]["bytes"]
        lines.append(
            f"| {name} | {row['bytes'] / 1e6:.1f} | {ratio:.3f} "
            f"| {row['signatures']} | {row['seconds']:.1f} |"
        )
    gain = report["throughput"]["with"] / report["throughput"]["without"]
    lines += [
        "",
        f"{CALLERS} callers: {gain:.2f} times the images with batching",
    ]
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "serving", backends=())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=320)
    help = "the first is 1; callers ask the second"
    parser.add_argument("--tasks", nargs="+", type=int, default=NUM_TASKS, help=help)
    parser.add_argument("--stored", type=int, default=STORED)
    parser.add_argument("--size", choices=SIZES, default="vit_s14_98")
    args = parser.parse_args()
    tf.config.optimizer.set_jit(False)
    backbone = keras_memvit.ViTBackbone(**SIZES[args.size][1])
    shape = backbone.image_shape
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        export_models(folder, backbone, args.tasks)
        report = {
            "latency": latencies(folder, shape, args.tasks, args.rounds),
            "size": sizes(folder, backbone, args.stored),
            "throughput": throughput(folder, shape, args.tasks[1], args.calls),
            "cpus": os.cpu_count(),
            "tensorflow": tf.__version__,
        }
    write_report(args.output, report)
    print(tables(report))


if __name__ == "__main__":
    main()
