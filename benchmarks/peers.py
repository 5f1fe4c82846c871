"""A training step against the peers', on torch, side by side in one process.

    pip install vit-pytorch peft transformers
    python benchmarks/peers.py                       # ViT-S/14 at 98 px, batch 32
    python benchmarks/peers.py --sizes vit_b16_224

prints a table and writes `benchmarks/results/peers.json`. All train one task of 10
classes on a ViT of the same sizes with random weights: memory tokens by this
library (10 a layer), `vit-pytorch`'s `learnable_memory_vit.Adapter` (10 a
layer), PEFT's LoRA on a Hugging Face ViT (rank 8, queries and values),
KerasHub's `enable_lora` (rank 8), full fine-tuning of the Hugging Face ViT, and
a linear head on the frozen one. SGD with momentum throughout. The bare forward
passes of this library, Hugging Face and KerasHub stand below.

Times are medians over rounds in which all take turns; memory is the growth of
the resident set within a step, each method in a fresh process; "10 tasks" is
inference for ten tasks, which the peers answer one after the other.
PEFT's prompt and prefix methods need a language model's inputs and do not
apply to its ViTs.
"""

import argparse
import contextlib
import ctypes
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import types

os.environ["KERAS_BACKEND"] = "torch"

import torch
from speed_steps import NUM_CLASSES
from speed_steps import NUM_MEMORY_TOKENS
from speed_steps import SIZES
from speed_steps import one_task_model
from speed_steps import original_backbone
from speed_steps import predict_step
from speed_steps import random_batch
from speed_steps import ten_task_model
from speed_steps import train_step

import keras_memvit

HERE = pathlib.Path(__file__).resolve().parent


class Method:
    """A training step, an inference step, one of ten tasks, trainable numbers."""

    def __init__(self, train, infer, ten_tasks, trainable):
        self.train = train
        self.infer = infer
        self.ten_tasks = ten_tasks or (lambda: [infer() for _ in range(10)])
        self.trainable = trainable


def ours(size, images, labels):
    model = one_task_model(keras_memvit.ViTBackbone(**SIZES[size][1]))
    return Method(
        train_step(model, images, {"a": labels}),
        predict_step(model, images),
        predict_step(ten_task_model(model.backbone), images),
        sum(v.value.numel() for v in model.trainable_variables),
    )


def torch_method(model, images, labels, logits=lambda outputs: outputs):
    """A torch module under SGD with momentum."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(logits(model(images)), labels)
        loss.backward()
        optimizer.step()

    def infer():
        with torch.no_grad():
            return logits(model(images))

    return Method(train, infer, None, sum(p.numel() for p in parameters))


def vit_pytorch_adapter(size, images, labels):
    with _torchvision():
        from vit_pytorch.learnable_memory_vit import Adapter
        from vit_pytorch.learnable_memory_vit import ViT

    _, config = SIZES[size]
    vit = ViT(
        image_size=config["image_shape"][0],
        patch_size=config["patch_size"],
        num_classes=NUM_CLASSES,
        dim=config["hidden_dim"],
        depth=config["num_layers"],
        heads=config["num_heads"],
        dim_head=config["hidden_dim"] // config["num_heads"],
        mlp_dim=config["mlp_dim"],
    )
    adapter = Adapter(
        vit=vit,
        num_memories_per_layer=NUM_MEMORY_TOKENS,
        num_classes=NUM_CLASSES,
    )
    return torch_method(adapter, _channels_first(images), labels)


@contextlib.contextmanager
def _torchvision():
    """An empty one if there is none: vit-pytorch's other models import it."""
    names = ("torchvision", "torchvision.transforms")
    missing = importlib.util.find_spec("torchvision") is None
    if missing:
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        sys.modules["torchvision"].transforms = sys.modules[names[1]]
    yield
    for name in names if missing else ():
        del sys.modules[name]


def hugging_face(size):
    import transformers

    _, config = SIZES[size]
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=config["hidden_dim"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            intermediate_size=config["mlp_dim"],
            image_size=config["image_shape"][0],
            patch_size=config["patch_size"],
            num_labels=NUM_CLASSES,
        )
    )


def peft_lora(size, images, labels):
    import peft

    config = peft.LoraConfig(
        r=8,
        target_modules=r".*\.(query|value|q_proj|v_proj)",
        modules_to_save=["classifier"],
    )
    model = peft.get_peft_model(hugging_face(size), config)
    return torch_method(model, _channels_first(images), labels, lambda o: o.logits)


def fine_tuning(size, images, labels):
    model = hugging_face(size)
    return torch_method(model, _channels_first(images), labels, lambda o: o.logits)


def head_only(size, images, labels):
    model = hugging_face(size)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("classifier")
    return torch_method(model, _channels_first(images), labels, lambda o: o.logits)


def keras_hub_lora(size, images, labels):
    import keras

    backbone = original_backbone(size)
    backbone.enable_lora(8)
    logits = keras.layers.Dense(NUM_CLASSES)(backbone.output[:, 0])
    model = keras.Model(backbone.input, logits)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images = images / 127.5 - 1.0
    return Method(
        train_step(model, images, labels),
        predict_step(model, images),
        None,
        sum(v.value.numel() for v in model.trainable_variables),
    )


METHODS = {
    "ours": ours,
    "vit-pytorch Adapter": vit_pytorch_adapter,
    "PEFT LoRA": peft_lora,
    "KerasHub LoRA": keras_hub_lora,
    "full fine-tuning": fine_tuning,
    "head only": head_only,
}


def _channels_first(images):
    return (images / 127.5 - 1.0).permute(0, 3, 1, 2).contiguous()


def bare_forwards(size, images):
    """The frozen backbones alone, ours and the peers'."""
    model = hugging_face(size).vit.eval()
    pixels = _channels_first(images)

    def forward():
        with torch.no_grad():
            return model(pixels)

    steps = {
        "ours": predict_step(keras_memvit.ViTBackbone(**SIZES[size][1]), images),
        "Hugging Face": forward,
    }
    if original := original_backbone(size):
        steps["KerasHub"] = predict_step(original, images / 127.5 - 1.0)
    return steps


def time_all(size, rounds):
    """Median seconds of each step."""
    images, labels = random_batch(size)
    methods = {name: make(size, images, labels) for name, make in METHODS.items()}
    steps = {("train", name): method.train for name, method in methods.items()}
    steps |= {("ten tasks", name): m.ten_tasks for name, m in methods.items()}
    steps |= {("bare", name): s for name, s in bare_forwards(size, images).items()}
    seconds = {key: [] for key in steps}
    for i in range(rounds + 1):
        for key, step in steps.items():
            if key[0] == "ten tasks" and i > max(rounds // 3, 1):
                continue
            start = time.perf_counter()
            step()
            if i:  # the first one warms up
                seconds[key].append(time.perf_counter() - start)
    return {
        "seconds": {"|".join(k): statistics.median(v) for k, v in seconds.items()},
        "trainable": {name: method.trainable for name, method in methods.items()},
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


def run_child(*arguments):
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if arguments[0] == "memory":
        env["MALLOC_MMAP_THRESHOLD_"] = "65536"
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(size, report):
    """Every method over ours."""
    seconds, memory = report["seconds"], report["memory"]
    lines = [
        f"{size}, over ours:",
        "",
        "| method | training step | step memory | 10 tasks | trained | kB a task |",
        "|---|---|---|---|---|---|",
    ]
    for name in METHODS:
        cells = (
            name,
            f"{seconds[f'train|{name}'] / seconds['train|ours']:.2f}",
            f"{memory[name] / memory['ours']:.1f}",
            f"{seconds[f'ten tasks|{name}'] / seconds['ten tasks|ours']:.2f}",
            f"{report['trainable'][name]:,}",
            f"{4 * report['trainable'][name] / 1e3:,.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Our bare forward pass over theirs:", ""]
    for key, value in seconds.items():
        if key.startswith("bare|") and key != "bare|ours":
            lines.append(f"- {key[5:]}: {seconds['bare|ours'] / value:.2f}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["vit_s14_98"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--output", type=pathlib.Path, default=HERE / "results" / "peers.json"
    )
    args = parser.parse_args()
    reports = {}
    for size in args.sizes:
        reports[size] = run_child("time", size, args.rounds)
        reports[size]["memory"] = {
            name: run_child("memory", size, name)["growth"] for name in METHODS
        }
        print(table(size, reports[size]))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(reports, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _, _, what, size, *rest = sys.argv
        result = (
            time_all(size, int(*rest)) if what == "time" else step_memory(size, *rest)
        )
        print(json.dumps(result))
    else:
        main()
