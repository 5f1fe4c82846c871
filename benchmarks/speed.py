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

NUM_PATCHES = {"vit_s14_98": 49, "vit_b16_224": 196, "vit_b32_224": 49, "small": 4}
TRAIN_GOALS = {"jax": 1.25, "tensorflow": 1.25, "torch": 1.35}
MEMORY_GOAL = 1.3
STEPS = ("train", "ten_tasks")
# Training step, ten tasks: over the same with class token and memory alone.
READOUT_GOALS = {"deep": (1.1, 1.1), "side": (1.1, 1.25)}


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
    """The table's rows: (figure, value, goal or None)."""
    times = result["time"]
    ideal = 1 + 10 / (NUM_PATCHES[size] + 1)
    rows = [
        ("train", ratio(times, "train", "bare"), TRAIN_GOALS[backend]),
        ("ten tasks", ratio(times, "ten_tasks", "bare"), 1.05 * ideal),
    ]
    for name, (train, ten) in READOUT_GOALS.items():
        own = {step: ratio(times, f"{name}_{step}", step) for step in STEPS}
        rows.append((f"{name} train", own["train"], train))
        rows.append((f"{name} ten tasks", own["ten_tasks"], ten))
    if "original" in times["seconds"]:
        rows.append(("backbone", ratio(times, "bare", "original"), 1.0))
    peak = result["train"]["peak"] / result["inference"]["peak"]
    rows.append(("memory", peak, MEMORY_GOAL))
    rows.append(("fine-tuning", ratio(times, "fine_tuning", "bare"), None))
    return [
        {"backend": backend, "size": size, "figure": f, "value": v, "goal": g}
        for f, v, g in rows
    ]


def table(rows):
    """The figures as a Markdown table."""
    lines = ["| backend | size | figure | measured | goal | met |", "|---" * 6 + "|"]
    for row in rows:
        goal, met = "-", "-"
        if row["goal"] is not None:
            goal = f"<= {row['goal']:.2f}"
            met = "yes" if row["value"] <= row["goal"] else "NO"
        cells = (row["backend"], row["size"], row["figure"], f"{row['value']:.3f}")
        lines.append("| " + " | ".join((*cells, goal, met)) + " |")
    return "\n".join(lines)


def main():
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    parser = parser_of(__doc__, "speed", installed)
    parser.add_argument(
        "--sizes", nargs="+", choices=NUM_PATCHES, default=["vit_s14_98", "vit_b16_224"]
    )
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
