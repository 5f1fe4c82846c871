"""The figures that matter of each report, one function a benchmark."""

import statistics
import typing


class Row(typing.NamedTuple):
    """One figure.

    Attributes:
        figure: str, what; a size stands before it: `"vit_s14_98: train"`.
        place: str, the backend, or `"measured"`.
        value: float.
    """

    figure: str
    place: str
    value: float


def backends_of(report):
    return {name: found for name, found in report.items() if name != "made"}


def candidates(report):
    for size, by_backend in backends_of(report).items():
        for backend, by_readout in by_backend.items():
            for readout, found in by_readout.items():
                one, (count, many) = found["1"], list(found.items())[-1]
                what = f"{size}, {readout}: "
                ratio = many["step"] / one["step"]
                yield f"{what}step of {count} candidates over one's", backend, ratio
                yield f"{what}first step of {count}, s", backend, many["first"]


def compile_options(report):
    for backend, by_source in backends_of(report).items():
        for source, seconds in by_source.items():
            for name, value in seconds.items():
                if name != "default":
                    figure = f"epoch from {source}, {name} over the default"
                    yield figure, backend, value / seconds["default"]


def data_check(report):
    for kind in ("duplicates", "leaks", "wrong labels"):
        counts = [found[kind] for found in report["seeds"]]
        planted, found, false = (
            sum(c[key] for c in counts) for key in ("planted", "found", "false_alarms")
        )
        yield f"{kind}: share found", "measured", found / planted
        yield f"{kind}: false alarms over planted", "measured", false / planted


def gpu(report):
    for backend, found in backends_of(report).items():
        for row in found["rows"]:
            size = f"{found['size']}, batch {row['batch']}"
            train, rate = row["train_over_forward"], row["forward_over_matrix_rate"]
            yield f"{size}: training over bare forward", backend, train
            figure = f"{size}: bare forward over the card's product rate"
            yield figure, backend, rate
        for count, value in found["tasks"].items():
            figure = f"pass with {int(count):,} tasks over bare forward's time"
            yield figure, backend, value
        yield "epoch from a store over one from images", backend, found["store"]


def learn(report):
    for size, by_backend in backends_of(report).items():
        for backend, by_method in by_backend.items():
            for method, found in by_method.items():
                passes = found["seconds"] / found["pass"]
                yield f"{size}: {method}, in forward passes", backend, passes


def loading(report):
    for name, found in backends_of(report).items():
        backend, base = name.split()
        yield f"{base}: peak, in copies of the weights", backend, found["peak"]
        yield f"{base}: stays, in copies of the weights", backend, found["stays"]


def many_tasks(report):
    for backend, by_number in report["tasks"].items():
        first = min(by_number, key=int)
        for number, found in by_number.items():
            bare, tasks = (statistics.median(v) for v in found["seconds"].values())
            count = f"{int(number):,} tasks"
            yield f"pass with {count} over bare forward's", backend, tasks / bare
            memory = found["peak"] / by_number[first]["peak"]
            yield f"memory of {count} over {first}'s", backend, memory
            if "building" in found:
                figure = f"build with {count}, in forward passes"
                yield figure, backend, found["building"] / bare
    for backend, found in report["sharing"].items():
        grown = found["growth"] / found["backbone_bytes"]
        yield "50 models' memory over the backbone's", backend, grown


def peers(report):
    for size, found in backends_of(report).items():
        seconds, memory = found["seconds"], found["memory"]
        for name in memory:
            if name == "ours":
                continue
            train = seconds[f"train|{name}"] / seconds["train|ours"]
            ten = 10 * seconds[f"1 tasks|{name}"] / seconds["10 tasks|ours"]
            yield f"{size}: step of {name} over ours", "torch", train
            figure = f"{size}: memory of {name}'s step over ours"
            yield figure, "torch", memory[name] / memory["ours"]
            yield f"{size}: ten tasks of {name} over ours", "torch", ten
        for backend, own in found["backends"].items():
            ratio = own["seconds"]["train|ours"] / seconds["train|ours"]
            yield f"{size}: our step over ours on torch", backend, ratio


def quantize(report):
    for backend, rows in backends_of(report).items():
        first = rows["float32"]
        for base, row in rows.items():
            own = 100 * statistics.mean(row["own"])
            yield f"{base}: test accuracy, %", backend, own
            kept = 100 * statistics.mean(row["kept"])
            yield f"{base}: images that keep their class, %", backend, kept
            slower = row["ms_an_image"] / first["ms_an_image"]
            yield f"{base}: time over float32's", backend, slower
            bytes = row["bytes"] / first["bytes"]
            yield f"{base}: bytes over float32's", backend, bytes


def serving(report):
    for batch, seconds in report["latency"].items():
        for name, value in seconds.items():
            if name != "bare":
                figure = f"batch {batch}: {name[6:]} tasks over the bare backbone"
                yield figure, "tensorflow", value / seconds["bare"]
    size, rates = report["size"], report["throughput"]
    for name, found in size.items():
        if name != "bare":
            figure = f"bytes of {name.split('_')[1]} tasks over the bare backbone's"
            yield figure, "tensorflow", found["bytes"] / size["bare"]["bytes"]
    gain = rates["with"] / rates["without"]
    yield "images/s of 16 callers with batching over without", "tensorflow", gain


def serving_load(report):
    for backend, found in backends_of(report).items():
        for row in found["rows"]:
            if row["popularity"] == "uniform" and row["known"] > 1:
                what = f"{row['known']:,} tasks, {row['asked']} an image"
                over = row["over_one_task"]
                yield f"{what}: images/s over one task's", backend, over
                switching = row["over_a_pass_a_task"]
                yield f"{what}: images/s over a pass a task", backend, switching
        latency = found["latency"]
        yield "failed answers", backend, latency["failed"]
        yield "99 % answered within, s", backend, latency["p99_seconds"]
        pause = latency["longest_pause_seconds"]
        yield "longest pause for a new file, s", backend, pause
        memory = found["memory_over_task_bytes"]
        yield "resident memory of tasks over their bytes", backend, memory


def speed(report):
    for row in report["figures"]:
        yield f"{row['size']}: {row['figure']}", row["backend"], row["value"]


def startup(report):
    for backend, seconds in backends_of(report).items():
        for name, value in seconds.items():
            yield f"{name}, s", backend, value


def store(report):
    for size, by_backend in backends_of(report).items():
        for backend, found in by_backend.items():
            figure = f"{size}: epoch from images over one from the store"
            yield figure, backend, found["images"] / found["store"]
            if "side_store" in found:
                ratio = found["side_images"] / found["side_store"]
                figure = f"{size}: epoch from images over the store's, side readout"
                yield figure, backend, ratio
            ahead = found["read_ahead"] / found["store"]
            yield f"{size}: epoch with read-ahead over without", backend, ahead
            yield f"{size}: kB an image", backend, found["bytes"] / 1e3


def store_types(report):
    for backend, by_data in backends_of(report).items():
        for data, rows in by_data.items():
            for name, row in rows.items():
                figure = f"{data}, {name}"
                for readout in ("class_token", "side"):
                    accuracy = 100 * statistics.mean(row[readout]["accuracy"])
                    yield f"{figure}: {readout}, accuracy, %", backend, accuracy
                if name != "bfloat16":
                    ratio = row["epoch"] / rows["bfloat16"]["epoch"]
                    yield f"{figure}: epoch over bfloat16's", backend, ratio


def unify(report):
    for row in report["results"]:
        for name, value in row.items():
            if name != "method":
                yield f"{row['method']}: {name}, %", report["backend"], value


READERS = {
    function.__name__: function
    for function in (
        candidates,
        compile_options,
        data_check,
        gpu,
        learn,
        loading,
        many_tasks,
        peers,
        quantize,
        serving,
        serving_load,
        speed,
        startup,
        store,
        store_types,
        unify,
    )
}
