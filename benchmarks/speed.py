"""How much a task costs: every figure against the bare backbone's forward pass.

    python benchmarks/speed.py                          # all installed backends
    python benchmarks/speed.py --backends jax --sizes vit_s14_98
    python benchmarks/speed.py --clock cpu              # on a busy machine

prints a table and writes `benchmarks/results/speed.json`; about 10 minutes a
backend on 2 CPU cores. Each backend and size runs in a process of its own,
where the steps take turns, round after round; a figure is the median over
rounds of two times from the same round. `--clock cpu` confines each process
to one core and counts its CPU time, which other processes disturb less.

- train: a training step of 1 masked task with 10 memory tokens a layer, over
  the bare forward pass;
- ten tasks: inference with 10 such tasks, over the same; the ideal is
  `1 + 10 / (N + 1)` with `N` patches;
- deep train, deep ten tasks: both with a deep readout of 4 query tokens a layer,
  over the same without; side train, side ten tasks: with a side readout of rank 16;
- backbone: our bare forward pass over that of the KerasHub backbone that it
  was converted from;
- memory: peak memory of a training step over that of inference, same model
  and batch, weights included, each in a fresh process (`measure_peak` in
  `speed_cases.py` says how it is taken);
- fine-tuning: a training step of all weights, over the bare forward pass. No
  goal; it is what the first figure replaces.
"""

import importlib.util
import platform
import statistics
import sys

from children import BACKENDS
from children import HERE
from children import parser_of
from children import run_child
from children import write_report
from table import limit_of
from table import missed_by

SIZES = ("vit_s14_98", "vit_b16_224", "vit_b32_224", "small")
READOUTS = ("deep", "side")  # over the same with class token and memory alone


def measure(backend, size, args):
    """Everything measured of one backend at one size."""
    script = HERE / "speed_cases.py"
    clock = ("--rounds", args.rounds, "--clock", args.clock)
    options = {"backend": backend, "one_core": args.clock == "cpu"}
    result = {"time": run_child(script, "time", size, *clock, **options)}
    options = {"backend": backend, "measures_memory": True}
    for mode in ("inference", "train"):
        arguments = ("memory", size, "--mode", mode)
        result[mode] = run_child(script, *arguments, **options)
    return result


def ratio(times, name, over):
    """Median over rounds of one step's time over another's in that round."""
    numerator, denominator = times["seconds"][name], times["seconds"][over]
    stride = len(denominator) // len(numerator)
    return statistics.median(a / b for a, b in zip(numerator, denominator[::stride]))


def figures(backend, size, result):
    """The table's rows."""
    times = result["time"]
    values = {
        "train": ratio(times, "train", "bare"),
        "ten tasks": ratio(times, "ten_tasks", "bare"),
    }
    for name in READOUTS:
        for step in ("train", "ten_tasks"):
            figure = f"{name} {step.replace('_', ' ')}"
            values[figure] = ratio(times, f"{name}_{step}", step)
    if "original" in times["seconds"]:
        values["backbone"] = ratio(times, "bare", "original")
    values["memory"] = result["train"]["peak"] / result["inference"]["peak"]
    values["fine-tuning"] = ratio(times, "fine_tuning", "bare")
    return [
        {"backend": backend, "size": size, "figure": figure, "value": value}
        for figure, value in values.items()
    ]


def table(rows):
    """The figures as a Markdown table."""
    lines = ["| backend | size | figure | measured | goal | met |", "|---" * 6 + "|"]
    for row in rows:
        goal, met = "-", "-"
        if limit := limit_of("speed", f"{row['size']}: {row['figure']}"):
            goal = f"{limit[0]} {limit[1]:.2f}"
            met = "yes" if missed_by(row["value"], *limit) <= 1 else "NO"
        cells = (row["backend"], row["size"], row["figure"], f"{row['value']:.3f}")
        lines.append("| " + " | ".join((*cells, goal, met)) + " |")
    return "\n".join(lines)


def main():
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    parser = parser_of(__doc__, "speed", installed)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES[:2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    rows, raw = [], {}
    for size in args.sizes:
        for backend in args.backends:
            result = measure(backend, size, args)
            raw.setdefault(size, {})[backend] = result
            rows += figures(backend, size, result)
            print(f"measured {backend} {size}", file=sys.stderr, flush=True)
    report = {
        "figures": rows,
        "clock": args.clock,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "raw": raw,
    }
    write_report(args.output, report)
    print(table(rows))


if __name__ == "__main__":
    main()
