"""How time and memory grow with the number of tasks on one backbone.

    python benchmarks/many_tasks.py                       # all installed backends
    python benchmarks/many_tasks.py --backends jax --tasks 1 10 100

prints two tables and writes `benchmarks/results/many_tasks.json`. Tasks are
independent, with 5 memory tokens a layer and 10 classes, on a ViT-S/14 at
98 px (50 base tokens), batch 8. Each number of tasks is measured in a fresh
process; a time is the median over rounds of inference over the bare backbone's
forward pass in the same round, memory is the step's peak over that with one
task. `tokens a task` is the slope: by how many of the backbone's tokens one
more task slows a pass down; 1 is what a task's class token must cost. `building`
is the time of `build` with that many tasks, in bare forward passes.

The second table puts 50 tasks on a ViT-B/16, one `concatenate` of 50 models
that were built on it, and says by how many backbones memory grew.
"""

import gc
import os
import pathlib
import platform
import statistics
import sys
import time

from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report

BATCH = 8
BASE_TOKENS = {"vit_s14_98": 50, "vit_b16_224": 197, "small": 5}


def time_and_memory(size, num_tasks, rounds):
    """Times of both forward passes, round by round, and the step's peak memory."""
    import numpy as np
    from speed_cases import measure_peak
    from speed_steps import SIZES
    from speed_steps import predict_step

    import keras_memvit

    _, config = SIZES[size]
    tasks = {f"task_{i}": 10 for i in range(num_tasks)}
    backbone = keras_memvit.ViTBackbone(**config)
    keras_memvit.build(backbone, {"first": 10})  # what every later one finds done
    start = time.process_time()
    model = keras_memvit.build(backbone, tasks)
    building = time.process_time() - start
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, *config["image_shape"]))
    images = images.astype("float32")
    steps = {
        "bare": predict_step(model.backbone, images),
        "tasks": predict_step(model, images),
    }
    seconds = {name: [] for name in steps}
    for i in range(rounds + 2):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if i >= 2:  # the first ones compile
                seconds[name].append(time.process_time() - start)
    step = predict_step(model, images, share=False)
    peak = measure_peak(model, step, (images,))
    return {"seconds": seconds, "peak": peak, "building": building}


def shared_backbone(size, num_tasks):
    """Resident memory before and after `num_tasks` models become one."""
    from speed_steps import SIZES

    import keras_memvit

    _, config = SIZES[size]
    backbone = keras_memvit.ViTBackbone(**config)
    gc.collect()
    before = _resident()
    models = [keras_memvit.build(backbone, {f"task_{i}": 10}) for i in range(num_tasks)]
    model = keras_memvit.concatenate(models)
    gc.collect()
    backbones = {id(m.backbone) for m in [model, *models]}
    return {
        "backbone_bytes": 4 * backbone.count_params(),
        "task_bytes": 4 * sum(t.count_params() for t in model.task_layers.values()),
        "growth": _resident() - before,
        "backbones": len(backbones),
    }


def _resident():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measure(what, size, number, rounds):
    """One of both measurements; a child's arguments are text."""
    if what == "share":
        return shared_backbone(size, int(number))
    return time_and_memory(size, int(number), int(rounds))


def _in_child(backend, *arguments):
    options = {"one_core": True, "measures_memory": True}
    return run_child(__file__, "--child", *arguments, backend=backend, **options)


def growth_table(measured, base_tokens):
    """Ratios and slopes as a Markdown table."""
    lines = [
        "| backend | tasks | time over bare | memory over 1 task | tokens a task "
        "| building |",
        "|---" * 6 + "|",
    ]
    for backend, by_number in measured.items():
        numbers = sorted(by_number)
        ratios = {
            n: statistics.median(
                tasks / bare
                for tasks, bare in zip(
                    by_number[n]["seconds"]["tasks"], by_number[n]["seconds"]["bare"]
                )
            )
            for n in numbers
        }
        first = numbers[0]
        for n in numbers:
            memory = by_number[n]["peak"] / by_number[first]["peak"]
            slope = "-"
            if n != first:
                per_task = (ratios[n] - ratios[first]) / (n - first)
                slope = f"{per_task * base_tokens:.2f}"
            bare = statistics.median(by_number[n]["seconds"]["bare"])
            building = f"{by_number[n]['building'] / bare:.1f}"
            times = (f"{ratios[n]:.2f}", f"{memory:.2f}", slope, building)
            cells = (backend, f"{n:,}", *times)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sharing_table(shared):
    lines = [
        "| backend | backbone MB | 50 tasks' MB | memory grew by MB | backbones |",
        "|---" * 5 + "|",
    ]
    for backend, found in shared.items():
        sizes = (found[k] / 1e6 for k in ("backbone_bytes", "task_bytes", "growth"))
        cells = (backend, *(f"{size:.0f}" for size in sizes), str(found["backbones"]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "many_tasks")
    parser.add_argument("--tasks", nargs="+", type=int, default=[1, 10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    help = "of the backbone whose time and memory grow"
    parser.add_argument("--size", choices=BASE_TOKENS, default="vit_s14_98", help=help)
    help = "of the backbone that 50 models share"
    parser.add_argument("--sharing-size", default="vit_b16_224", help=help)
    args = parser.parse_args()
    measured, shared = {}, {}
    for backend in args.backends:
        measured[backend] = {
            n: _in_child(backend, "tasks", args.size, n, args.rounds)
            for n in args.tasks
        }
        shared[backend] = _in_child(
            backend, "share", args.sharing_size, 50, args.rounds
        )
        print(f"measured {backend}", file=sys.stderr, flush=True)
    report = {"tasks": measured, "sharing": shared, "machine": platform.machine()}
    write_report(args.output, report)
    growth = growth_table(measured, BASE_TOKENS[args.size])
    print(growth, sharing_table(shared), sep="\n\n")


if __name__ == "__main__":
    main_or_child(main, measure)
