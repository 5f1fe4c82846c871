"""What `speed.py` measures, in the child process of one backend and one size.

    KERAS_BACKEND=jax python benchmarks/speed_cases.py time vit_s14_98 --rounds 9
    KERAS_BACKEND=jax python benchmarks/speed_cases.py memory vit_s14_98 --mode train

prints one line of JSON. Weights and images are random.
"""

import argparse
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import statistics
import time

import keras
import numpy as np
from speed_steps import SIZES
from speed_steps import fine_tuning_model
from speed_steps import jax_state
from speed_steps import many_task_model
from speed_steps import one_task_model
from speed_steps import original_backbone
from speed_steps import predict_step
from speed_steps import random_batch
from speed_steps import train_step

import keras_memvit

# CPU time leaves out what other processes took of a busy machine; the process
# must then be confined to one core, or idling threads count too.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

READOUTS = {
    "deep": keras_memvit.readouts.Deep(num_query_tokens=4),
    "side": keras_memvit.readouts.Side(rank=16),
}


def timed_steps(size):
    """The functions to time, by name."""
    images, labels = random_batch(size)
    original = original_backbone(size)
    source = original or keras_memvit.ViTBackbone(**SIZES[size][1])
    trained = one_task_model(source)
    backbone = trained.backbone
    steps = {"bare": predict_step(backbone, images)}
    if original is not None:
        normalized = images / 127.5 - 1.0  # KerasHub's normalise outside the model
        _check_equal(backbone(images), original(normalized))
        steps["original"] = predict_step(original, normalized)
    steps["train"] = train_step(trained, images, {"a": labels})
    steps["ten_tasks"] = predict_step(many_task_model(backbone, 10), images)
    for name, readout in READOUTS.items():
        one = one_task_model(backbone, readout=readout)
        steps[f"{name}_train"] = train_step(one, images, {"a": labels})
        ten = many_task_model(backbone, 10, readout=readout)
        steps[f"{name}_ten_tasks"] = predict_step(ten, images)
    steps["fine_tuning"] = train_step(fine_tuning_model(backbone), images, labels)
    return steps


def _check_equal(ours, theirs):
    """Times are comparable only between models that compute the same."""
    ours, theirs = map(keras.ops.convert_to_numpy, (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def time_steps(size, rounds, clock=time.perf_counter):
    """Seconds of every step in every round, the steps taking turns.

    Fine-tuning, which no goal concerns and which takes longest, runs in every
    third round.
    """
    steps = timed_steps(size)
    for step in steps.values():
        step()
        step()
    seconds = {name: [] for name in steps}
    for i in range(rounds):
        for name, step in steps.items():
            if name == "fine_tuning" and i % 3:
                continue
            start = clock()
            step()
            seconds[name].append(clock() - start)
    return {
        "seconds": seconds,
        "median_seconds": {k: statistics.median(v) for k, v in seconds.items()},
    }


def measure_memory(size, mode):
    """Peak memory of one mode's step, by `measure_peak`, and of the process.

    `resident_peak` is the peak of the whole process, libraries and compiler
    included, for context.
    """
    images, labels = random_batch(size)
    model = one_task_model(keras_memvit.ViTBackbone(**SIZES[size][1]))
    if mode == "train":
        step = train_step(model, images, {"a": labels}, share=False)
        batch = (images, {"a": labels})
    else:
        step, batch = predict_step(model, images, share=False), (images,)
    peak = measure_peak(model, step, batch)
    return {"peak": peak, "resident_peak": _status_bytes("VmHWM")}


def measure_peak(model, step, batch):
    """Peak of the tensors alive in a step, weights included, in bytes.

    JAX: arguments, temporaries and outputs of the compiled step, by XLA's
    count. TensorFlow, and torch on an accelerator: the allocator's peak. torch
    on a CPU has no such count: the state's size and the growth of the resident
    set within a step; `MALLOC_MMAP_THRESHOLD_` in the environment makes the
    allocator give back at once what is freed.

    Args:
        model: the model.
        step: function of no arguments that runs the step.
        batch: what the step takes: `(images,)`, or `(images, labels)` to train.
    """
    peaks = {
        "jax": _jax_peak,
        "tensorflow": _tensorflow_peak,
        "torch": _torch_peak,
    }
    return peaks[keras.backend.backend()](model, step, batch)


def _jax_peak(model, step, batch):
    import jax

    training = len(batch) > 1
    function = model.train_step if training else model.predict_step
    state = jax_state(model, training)
    compiled = jax.jit(function, donate_argnums=0).lower(state, batch).compile()
    stats = compiled.memory_analysis()
    step()
    return (
        stats.argument_size_in_bytes
        + stats.temp_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
    )


def _tensorflow_peak(model, step, batch):
    import tensorflow as tf

    device = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    for _ in range(2):
        step()
    tf.config.experimental.reset_memory_stats(device)
    step()
    return tf.config.experimental.get_memory_info(device)["peak"]


def _torch_peak(model, step, batch):
    import torch

    for _ in range(2):
        step()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    state = model.variables + (model.optimizer.variables if len(batch) > 1 else [])
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before = _status_bytes("VmRSS")
    step()
    growth = _status_bytes("VmHWM") - before
    return growth + sum(v.value.nbytes for v in {id(v): v for v in state}.values())


def _status_bytes(field):
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def versions():
    """Versions of Keras and of the backend."""
    backend = keras.backend.backend()
    module = importlib.import_module(backend)
    found = {"keras": keras.__version__, backend: module.__version__}
    if importlib.util.find_spec("keras_hub"):
        found["keras_hub"] = importlib.metadata.version("keras-hub")
    return {**found, "keras_memvit": keras_memvit.__version__}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["time", "memory"])
    parser.add_argument("size", choices=sorted(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--mode", choices=["train", "inference"], default="inference")
    args = parser.parse_args()
    if args.what == "time":
        result = time_steps(args.size, args.rounds, CLOCKS[args.clock])
    else:
        result = measure_memory(args.size, args.mode)
    print(json.dumps({**result, "versions": versions(), "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
