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
from sizes import SMALL
from sizes import VIT_L16_224

SIZES = {"vit_l16_224": VIT_L16_224, "small": SMALL}
BASES = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
}


def make(folder, size):
    """Writes the preset; returns its bytes in float32."""
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(**SIZES[size])
    backbone.save_to_preset(folder)
    return {"bytes": 4 * backbone.count_params()}


def measure(what, folder, size, weights=0):
    """Makes the preset, or loads it as one of `BASES`."""
    if what == "make":
        return make(folder, size)
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
    assert model.backbone.num_layers == SIZES[size]["num_layers"]
    unit = float(weights) / 1024
    return {"peak": (peak - before) / unit, "stays": (stays - before) / unit}


def _kilobytes(field):
    """Of this process: `VmRSS`, what is resident, `VmHWM`, the most that was."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return int(line.split()[1])


def main():
    parser = parser_of(__doc__, "loading")
    parser.add_argument("--size", choices=SIZES, default="vit_l16_224")
    parser.add_argument("--bases", nargs="+", choices=BASES, default=list(BASES))
    args = parser.parse_args()
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        make = ("--child", "make", folder, args.size)
        made = run_child(__file__, *make, backend="torch")
        for backend in args.backends:
            for base in args.bases:
                report[f"{backend} {base}"] = run_child(
                    __file__,
                    "--child",
                    base,
                    folder,
                    args.size,
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
