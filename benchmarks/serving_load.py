"""What a bank of many tasks costs under load: throughput, latency, memory.

    python benchmarks/serving_load.py --backends torch

prints tables and writes `benchmarks/results/serving_load.json`: ViT-S/14 at 98 px, 5
memory tokens, 10 classes, random weights, this machine's CPU, without HTTP.

- images a second in batches of 16, each image asking for 1 or 10 of so many task files,
  all alike popular or by a power law, over those of a bank with one task; and over one
  pass of the backbone for each task that a batch asks for, which a model a task, or
  switching adapters, takes;
- seconds from asking to answer of images that come at random times, half as many as
  the bank can answer, while task files are added to the folder; failures, and how
  long an added file kept passes waiting;
- resident memory that 1,000 tasks take over their bytes.
"""

import concurrent.futures
import gc
import os
import pathlib
import tempfile
import threading
import time

from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report

KNOWN = (1, 10, 100, 1000, 10_000)
ASKED = (1, 10)
CAPACITY = 1024
BATCH = 16
ROUNDS = 8
LOADED = 1000  # tasks in the runs of latency and memory, at most


def resident_bytes():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def write_tasks(folder, backbone, count):
    """Task files of random values, as `save_task` writes them."""
    import keras_memvit
    from keras_memvit.tasks.task_file import write_task_file

    model = keras_memvit.build(backbone, {"task": 10})
    arrays = model.task_layers["task"].arrays()
    card = {
        "version": keras_memvit.__version__,
        "attention": "masked",
        "backbone": backbone.fingerprint(),
        "image_shape": list(backbone.image_shape),
        "needs": {},
    }
    for i in range(count):
        arrays["class_token"] = arrays["class_token"] + 1e-3
        spec = keras_memvit.TaskSpec(f"t{i}", 10).get_config()
        path = str(folder / f"t{i}.safetensors")
        write_task_file(path, arrays, {**card, "task": spec})


def draw(rng, known, popularity):
    """The names that the images of one batch ask for."""
    import numpy as np

    weights = np.arange(1, known + 1, dtype="float64")
    weights = weights**-1.1 if popularity == "power law" else np.ones(known)

    def own(asked):
        size = min(asked, known)
        picked = rng.choice(known, size, replace=False, p=weights / weights.sum())
        return [f"t{i}" for i in picked]

    return own


def images_per_second(tasks, images, batches):
    """Images a second of batches of names; the best round of several."""
    best = 0.0
    for names in batches:
        start = time.perf_counter()
        with tasks.steady:
            tasks.ensure(list(dict.fromkeys(n for own in names for n in own)))
            tasks.bank.predict(images, tasks=names, batch_size=len(images))
        best = max(best, len(images) / (time.perf_counter() - start))
    return best


def throughput(backbone, folder, images, known_counts):
    """Rows of images a second, by tasks known, asked and popularity."""
    import numpy as np

    from keras_memvit.serving.bank import TaskBank
    from keras_memvit.serving.server.task_folder import TaskFolder

    rows = []
    for asked in ASKED:
        for popularity in ("uniform", "power law"):
            for known in known_counts:
                rng = np.random.default_rng(0)
                own = draw(rng, known, popularity)
                batches = [[own(asked) for _ in range(BATCH)] for _ in range(ROUNDS)]
                inside = folder / f"first{known}"
                bank = TaskBank(backbone, capacity=CAPACITY)
                tasks = TaskFolder(inside, bank)
                rate = images_per_second(tasks, images, batches)
                distinct = np.mean([len({n for o in b for n in o}) for b in batches])
                rows.append(
                    {
                        "asked": asked,
                        "popularity": popularity,
                        "known": known,
                        "images_per_second": rate,
                        "tasks_a_batch": float(distinct),
                    }
                )
    return rows


def passes_per_second(backbone, folder, images):
    """Images a second of one task, alone: a pass a batch."""
    from keras_memvit.serving.bank import TaskBank

    bank = TaskBank(backbone)
    bank.load(folder / "first1" / "t0.safetensors")
    best = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        bank.predict(images, tasks=["t0"], batch_size=len(images))
        best = max(best, len(images) / (time.perf_counter() - start))
    return best


def latency(backbone, folder, images, rate, loaded, duration):
    """Percentiles of seconds while files are added, and what failed."""
    import numpy as np

    from keras_memvit.serving.bank import TaskBank
    from keras_memvit.serving.server.batcher import Batcher
    from keras_memvit.serving.server.task_folder import TaskFolder

    bank = TaskBank(backbone, capacity=CAPACITY)
    tasks = TaskFolder(folder / f"first{loaded}", bank)
    with tasks.steady:
        tasks.ensure([f"t{i}" for i in range(loaded)])
    batcher = Batcher(tasks, BATCH, 0.005, 10_000)
    rng = np.random.default_rng(1)
    own = draw(rng, loaded, "power law")
    seconds, pauses, done = [], [], threading.Event()

    def add():
        spare = iter(sorted((folder / "spare").glob("*.safetensors")))
        while not done.wait(0.5):
            path = next(spare)
            os.rename(path, tasks.folder / path.name)
            tasks.refresh()
            with tasks.steady:  # no pass begins meanwhile
                start = time.perf_counter()
                tasks.ensure([path.stem])
                pauses.append(time.perf_counter() - start)

    adder = threading.Thread(target=add)
    adder.start()
    futures, end = [], time.perf_counter() + duration
    while time.perf_counter() < end:
        time.sleep(rng.exponential(1 / rate))
        start = time.perf_counter()
        future = batcher.submit(images[0], own(1))
        future.add_done_callback(
            lambda _, start=start: seconds.append(time.perf_counter() - start)
        )
        futures.append(future)
    concurrent.futures.wait(futures)
    done.set()
    adder.join()
    batcher.stop()
    return {
        "asked": len(futures),
        "failed": sum(future.exception() is not None for future in futures),
        "added": len(pauses),
        "longest_pause_seconds": float(max(pauses)),
        **{f"p{p}_seconds": float(np.percentile(seconds, p)) for p in (50, 95, 99)},
    }


def memory(backbone, folder, images, loaded):
    """Resident memory that tasks take, over their bytes; call it first of all."""
    from keras_memvit.serving.bank import TaskBank

    bank = TaskBank(backbone, capacity=CAPACITY)
    files = sorted((folder / f"first{loaded}").iterdir())
    bank.load(files[0])
    bank.predict(images, tasks=list(bank.specs), batch_size=len(images))
    gc.collect()
    before, bytes_before = resident_bytes(), bank.nbytes
    for file in files[1:]:
        bank.load(file)
    gc.collect()
    return (resident_bytes() - before) / (bank.nbytes - bytes_before)


def measure(size, duration, *known_counts):
    """All of it on one backend; a child's arguments are text."""
    import numpy as np
    from speed_steps import SIZES

    import keras_memvit

    backbone = keras_memvit.ViTBackbone(**SIZES[size][1])
    duration, known_counts = int(duration), tuple(map(int, known_counts))
    loaded = min(LOADED, max(known_counts))
    last = loaded + 2 * duration + 2
    shape = (BATCH, *backbone.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        write_tasks(folder, backbone, max(last, *known_counts))
        for known in known_counts:
            (folder / f"first{known}").mkdir()
            for i in range(known):
                name = f"t{i}.safetensors"
                os.link(folder / name, folder / f"first{known}" / name)
        (folder / "spare").mkdir()
        for i in range(loaded, last):
            os.link(folder / f"t{i}.safetensors", folder / f"spare/t{i}.safetensors")
        taken = memory(backbone, folder, images, loaded)
        alone = passes_per_second(backbone, folder, images)
        rows = throughput(backbone, folder, images, known_counts)
        first = latency(backbone, folder, images, alone / 2, loaded, duration)
    for row in rows:
        row["over_one_task"] = row["images_per_second"] / alone
        row["over_a_pass_a_task"] = (
            row["images_per_second"] / alone * row["tasks_a_batch"]
        )
    return {
        "one_task_images_per_second": alone,
        "rows": rows,
        "latency": first,
        "memory_over_task_bytes": taken,
    }


def table(report):
    lines = []
    for backend, found in report.items():
        lines += [
            f"{backend}: one task, {found['one_task_images_per_second']:.1f} images/s",
            "",
            "| asked an image | popularity | known | tasks a batch | over one task | "
            "over a pass a task |",
            "|---|---|---|---|---|---|",
        ]
        for row in found["rows"]:
            lines.append(
                f"| {row['asked']} | {row['popularity']} | {row['known']} | "
                f"{row['tasks_a_batch']:.1f} | {row['over_one_task']:.2f} | "
                f"{row['over_a_pass_a_task']:.1f} |"
            )
        for name, value in found["latency"].items():
            lines.append(f"{name}: {value:.3g}")
        lines += [
            f"memory over tasks' bytes: {found['memory_over_task_bytes']:.2f}",
            "",
        ]
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "serving_load")
    parser.add_argument("--size", default="vit_s14_98", help="of `speed_steps.py`")
    parser.add_argument("--known", nargs="+", type=int, default=KNOWN)
    parser.add_argument("--seconds", type=int, default=15)
    args = parser.parse_args()
    child = ("--child", args.size, args.seconds, *args.known)
    report = {b: run_child(__file__, *child, backend=b) for b in args.backends}
    write_report(args.output, report)
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
