"""Throughput on an accelerator, in bfloat16: all of it in one call.

    python benchmarks/gpu.py                       # JAX and torch, whichever see a GPU
    python benchmarks/gpu.py --size small --batches 4    # tries it on a CPU

prints a table and writes `benchmarks/results/gpu.json`. ViT-B/16 at 224 px by
default: images a second of the bare forward pass and of `model.fit` for one
task with 10 memory tokens a layer (host to device transfer included); the
forward pass's share of the matrix rate that the card itself reaches; and which
fused attention kernel ran. At the first batch size also the forward pass with
1, 100 and 1,000 tasks, and an epoch from a store on disk in units of one from
images. Random weights and images.
"""

import functools
import tempfile
import time

from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report
from sizes import SMALL
from sizes import VIT_B16_224
from table import LIMITS

BACKENDS = ("jax", "torch")
SIZES = {"vit_b16_224": VIT_B16_224, "small": SMALL}
FUSED = ("fmha", "flash", "cudnn_attention", "cudnn_generated")  # in kernels' names
STEPS = 8
NUM_TASKS = (1, 100, 1000)


def flops(config):
    """Floating-point operations of one image's forward pass; a product is two."""
    height, width, channels = config["image_shape"]
    patches = (height // config["patch_size"]) * (width // config["patch_size"])
    tokens, dim = patches + 1, config["hidden_dim"]
    layer = tokens * (4 * dim**2 + 2 * dim * config["mlp_dim"]) + 2 * tokens**2 * dim
    embed = patches * config["patch_size"] ** 2 * channels * dim
    return 2 * (config["num_layers"] * layer + embed)


class Jax:
    """What differs on JAX."""

    def __init__(self):
        import jax

        self.device = jax.devices()[0].device_kind
        self.has_gpu = jax.default_backend() == "gpu"

    def matrix_rate(self, size):
        import jax
        import jax.numpy as jnp

        a = jnp.ones((size, size), "bfloat16")
        product = jax.jit(lambda a, b: a @ b)
        seconds = best_time(lambda: jax.block_until_ready(product(a, a)))
        return 2 * size**3 / seconds

    def forward(self, model, images):
        """A function that runs the pass, and the names of its kernels."""
        import jax
        import jax.numpy as jnp

        values = [
            [v.value for v in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        pass_ = jax.jit(lambda values, x: model.stateless_call(*values, x)[0])
        x = jnp.asarray(images)
        compiled = pass_.lower(values, x).compile()
        return lambda: jax.block_until_ready(compiled(values, x)), compiled.as_text()


class Torch:
    """What differs on torch."""

    def __init__(self):
        import torch

        self.has_gpu = torch.cuda.is_available()
        self.device = torch.cuda.get_device_name() if self.has_gpu else "cpu"

    def wait(self):
        import torch

        if self.has_gpu:
            torch.cuda.synchronize()

    def matrix_rate(self, size):
        import torch

        place = "cuda" if self.has_gpu else "cpu"
        a = torch.ones((size, size), dtype=torch.bfloat16, device=place)
        seconds = best_time(lambda: (a @ a, self.wait()))
        return 2 * size**3 / seconds

    def forward(self, model, images):
        """A function that runs the pass, and the names of its kernels."""
        import keras
        import torch

        x = keras.ops.convert_to_tensor(images)

        def run():
            with torch.no_grad():
                model(x, training=False)
            self.wait()

        run()
        with torch.profiler.profile() as profile:
            run()
        return run, " ".join(event.key for event in profile.key_averages())


def best_time(function, rounds=5):
    """Least seconds of a call, after two that warm up."""
    function(), function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(backend, size, *batches):
    """What one backend does at one size; a child's arguments are text."""
    import keras
    import numpy as np

    import keras_memvit

    here = {"jax": Jax, "torch": Torch}[backend]()
    config = SIZES[size]
    backbone = keras_memvit.ViTBackbone(**config, dtype="mixed_bfloat16")
    rate = here.matrix_rate(8192 if here.has_gpu else 256)
    rows = []
    for batch in map(int, batches):
        keras.utils.set_random_seed(0)
        shape = (STEPS * batch, *config["image_shape"])
        images = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
        run, kernels = here.forward(backbone, images[:batch])
        forward = batch / best_time(run)
        model = keras_memvit.build(backbone, {"a": 100}, num_memory_tokens=10)
        model.compile()
        labels = np.arange(len(images)) % 100
        options = {"batch_size": batch, "verbose": 0}
        train = functools.partial(model.fit, images, labels, **options)
        seconds = best_time(train, 3)
        rows.append(
            {
                "batch": batch,
                "forward_images_per_second": forward,
                "train_over_forward": len(images) / seconds / forward,
                "forward_over_matrix_rate": forward * flops(config) / rate,
                "fused_attention": [n for n in FUSED if n in kernels.lower()],
            }
        )
        if batch == int(batches[0]):
            many = _many_tasks(here, backbone, images[:batch])
            store = _store_epoch(backbone, model, images[: 2 * batch], labels, options)
    facts = {"device": here.device, "gpu": here.has_gpu, "matrix_tflops": rate / 1e12}
    return {**facts, "size": size, "rows": rows, "tasks": many, "store": store}


def _many_tasks(here, backbone, images):
    """Seconds of a forward pass by number of tasks, over the bare backbone's."""
    import keras_memvit

    bare = best_time(here.forward(backbone, images)[0])
    found = {}
    for count in NUM_TASKS:
        tasks = {f"t{i}": 10 for i in range(count)}
        model = keras_memvit.build(backbone, tasks)
        found[str(count)] = best_time(here.forward(model, images)[0]) / bare
    return found


def _store_epoch(backbone, model, images, labels, options):
    """Seconds of an epoch from a store on disk over one from the same images."""
    import keras_memvit

    labels = labels[: len(images)]
    with tempfile.TemporaryDirectory() as folder:
        store = keras_memvit.precompute(
            backbone, (images, labels), folder, batch_size=options["batch_size"]
        )
        from_store = best_time(lambda: model.fit(store, **options), 3)
    return from_store / best_time(lambda: model.fit(images, labels, **options), 3)


def table(report):
    train, rate = (limit for _, limit in LIMITS["gpu"].values())
    lines = [
        "| backend | device | batch | forward, images/s | training over forward (goal "
        f"{train}) | forward over matrix rate (goal {rate}) | fused "
        "attention |",
        "|---|---|---|---|---|---|---|",
    ]
    for backend, found in report.items():
        for row in found["rows"]:
            lines.append(
                f"| {backend} | {found['device']} | {row['batch']} | "
                f"{row['forward_images_per_second']:.0f} | "
                f"{row['train_over_forward']:.2f} | "
                f"{row['forward_over_matrix_rate']:.2f} | "
                f"{', '.join(row['fused_attention']) or 'none'} |"
            )
    lines += [
        "",
        "| backend | 1, 100, 1,000 tasks over bare | store epoch over images' |",
        "|---|---|---|",
        *(
            f"| {backend} | {', '.join(f'{x:.2f}' for x in found['tasks'].values())} | "
            f"{found['store']:.2f} |"
            for backend, found in report.items()
        ),
    ]
    return "\n".join(lines)


def main():
    parser = parser_of(__doc__, "gpu", BACKENDS)
    parser.add_argument("--size", choices=SIZES, default="vit_b16_224")
    parser.add_argument("--batches", nargs="+", type=int, default=[256, 512])
    args = parser.parse_args()
    report = {
        backend: run_child(
            __file__, "--child", backend, args.size, *args.batches, backend=backend
        )
        for backend in args.backends
    }
    devices = {found["device"]: None for found in report.values()}
    write_report(args.output, report, machine=", ".join(devices))
    print(table(report))


if __name__ == "__main__":
    main_or_child(main, measure)
