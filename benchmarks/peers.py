"""Training and inference against the peers', side by side.

    pip install onnxruntime peft transformers
    pip install --no-deps vit-pytorch && pip install einops
    python benchmarks/peers.py                       # ViT-S/14 at 98 px, batch 32
    python benchmarks/peers.py --sizes vit_b16_224

prints a table and writes `benchmarks/results/peers.json`. All train one task of 10
classes on a ViT of the same sizes with random weights: memory tokens by this
library (10 a layer), `vit-pytorch`'s `learnable_memory_vit.Adapter` (10 a
layer), PEFT's LoRA on a Hugging Face ViT (rank 8, queries and values),
KerasHub's `enable_lora` (rank 8), full fine-tuning of the Hugging Face ViT, and
a linear head on the frozen one. SGD with momentum throughout. The bare forward
passes of this library, Hugging Face, KerasHub and onnxruntime stand below.

Times are medians over rounds in which all take turns in one process, on torch;
this library's on JAX and TensorFlow come from processes of their own. Memory is the
growth of the resident set within a step, each method in a fresh process. Of
inference with several tasks, the peers answer one after the other.
PEFT's prompt and prefix methods do not apply to ViTs: `get_peft_model` of 0.21
raises, since a ViT's config has no `vocab_size`.
"""

import ctypes
import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report
from peers_methods import METHODS
from peers_methods import NUM_TASKS
from peers_methods import bare_forwards
from speed_steps import SIZES
from speed_steps import predict_step
from speed_steps import random_batch

from keras_memvit import ViTBackbone


def time_all(size, rounds):
    """Median seconds of each step; on another backend than torch, of ours."""
    images, labels = random_batch(size)
    steps, trainable = {}, {}
    on_torch = keras.backend.backend() == "torch"
    for name in METHODS if on_torch else ["ours"]:
        method = METHODS[name](size, images, labels)
        trainable[name] = method.trainable
        steps["train", name] = method.train
        steps |= {(f"{n} tasks", name): step for n, step in method.infer.items()}
    if on_torch:
        bare = bare_forwards(size, images)
    else:
        bare = {"ours": predict_step(ViTBackbone(**SIZES[size][1]), images)}
    steps |= {("bare", name): step for name, step in bare.items()}
    seconds = {key: [] for key in steps}
    for i in range(rounds + 1):
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            if i:  # the first one warms up
                seconds[key].append(time.perf_counter() - start)
    return {
        "seconds": {"|".join(k): statistics.median(v) for k, v in seconds.items()},
        "trainable": trainable,
    }


def step_memory(size, name):
    """Growth of the resident set within a training step, in bytes."""
    images, labels = random_batch(size)
    method = METHODS[name](size, images, labels)
    for _ in range(2):
        method.train()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before = _status("VmRSS")
    method.train()
    return {"growth": _status("VmHWM") - before}


def _status(field):
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def measure(what, size, argument):
    """One of both measurements; a child's arguments are text."""
    if what == "time":
        return time_all(size, int(argument))
    return step_memory(size, argument)


def _in_child(what, *arguments, backend="torch"):
    options = {"backend": backend, "measures_memory": what == "memory"}
    return run_child(__file__, "--child", what, *arguments, **options)


def table(size, report):
    """Every method over ours on torch."""
    seconds, memory = report["seconds"], report["memory"]
    lines = [
        f"{size}, over ours on torch:",
        "",
        "| method | training step | memory | 1 task | 10 | 50 | trained | kB a task |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in METHODS:
        infer = [
            seconds.get(f"{n} tasks|{name}", n * seconds[f"1 tasks|{name}"])
            / seconds[f"{n} tasks|ours"]
            for n in NUM_TASKS
        ]
        cells = (
            name,
            f"{seconds[f'train|{name}'] / seconds['train|ours']:.2f}",
            f"{memory[name] / memory['ours']:.1f}",
            *(f"{ratio:.2f}" for ratio in infer),
            f"{report['trainable'][name]:,}",
            f"{4 * report['trainable'][name] / 1e3:,.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    for backend, own in report["backends"].items():
        steps = ("train", *(f"{n} tasks" for n in NUM_TASKS))
        train, *infer = (
            f"{own['seconds'][f'{step}|ours'] / seconds[f'{step}|ours']:.2f}"
            for step in steps
        )
        lines.append(f"| ours on {backend} | {train} | | {' | '.join(infer)} | | |")
    bare = {k[5:]: v for k, v in seconds.items() if k.startswith("bare|")}
    for backend, own in report["backends"].items():
        bare[f"ours on {backend}"] = own["seconds"]["bare|ours"]
    fastest = min(bare["Hugging Face"], bare["onnxruntime"])
    lines += ["", "Bare forward passes over the faster of torch and onnxruntime:", ""]
    lines += [f"- {name}: {value / fastest:.2f}" for name, value in bare.items()]
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "peers", backends=())
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["vit_s14_98"])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    reports = {}
    for size in args.sizes:
        reports[size] = _in_child("time", size, args.rounds)
        reports[size]["backends"] = {
            backend: _in_child("time", size, args.rounds, backend=backend)
            for backend in ("jax", "tensorflow")
        }
        reports[size]["memory"] = {
            name: _in_child("memory", size, name)["growth"] for name in METHODS
        }
        print(table(size, reports[size]))
    write_report(args.output, reports)


if __name__ == "__main__":
    main_or_child(main, measure)
