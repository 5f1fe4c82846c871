"""The most memory that loading a large backbone takes, in copies of its weights.

    python benchmarks/loading.py

prints a table and writes `benchmarks/results/loading.json`. A ViT-L/16 of random
weights (1.2 GB in float32) is written as a KerasHub preset; for each backend and kind
of base, `build` of the preset's folder in a process of its own: how far the resident
set rose at most, and how far it stays up, over the bytes of the weights in float32.
"""

import pathlib
import tempfile

from children import main_or_child
from children import parser_of
from children import run_child
from children import write_report

LARGE = {
    "image_shape": (224, 224, 3),
    "patch_size": 16,
    "num_layers": 24,
    "num_heads": 16,
    "hidden_dim": 1024,
    "mlp_dim": 4096,
}
BASES = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
}


def make(folder):
    """Writes the preset; returns its bytes in float32."""
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(**LARGE)
    backbone.save_to_preset(folder)
    return {"bytes": 4 * backbone.count_params()}


def measure(what, folder, size=0):
    """Makes the preset, or loads it as one of `BASES`."""
    if what == "make":
        return make(folder)
    import gc

    import keras_hub  # noqa: F401  what it takes by itself is not counted

    import keras_memvit

    small = keras_memvit.ViTBackbone((32, 32, 3), 16, 1, 2, 32, 64)
    keras_memvit.build(small, {"a": 2}, **BASES[what])
    before = _kilobytes("VmRSS")
    model = keras_memvit.build(folder, {"a": 2}, **BASES[what])
    peak = _kilobytes("VmHWM")
    gc.collect()
    stays = _kilobytes("VmRSS")
    assert model.backbone.num_layers == LARGE["num_layers"]
    unit = float(size) / 1024
    return {"peak": (peak - before) / unit, "stays": (stays - before) / unit}


def _kilobytes(field):
    """Of this process: `VmRSS`, what is resident, `VmHWM`, the most that was."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return int(line.split()[1])


def main():
    args = parser_of(__doc__, "loading").parse_args()
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        made = run_child(__file__, "--child", "make", folder, backend="torch")
        for backend in args.backends:
            for base in BASES:
                report[f"{backend} {base}"] = run_child(
                    __file__,
                    "--child",
                    base,
                    folder,
                    made["bytes"],
                    backend=backend,
                    measures_memory=True,
                )
    write_report(args.output, report)
    print("| | at most | stays |\n|---|---|---|")
    for name, row in report.items():
        print(f"| {name} | {row['peak']:.2f} | {row['stays']:.2f} |")


if __name__ == "__main__":
    main_or_child(main, measure)
