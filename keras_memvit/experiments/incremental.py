"""Tasks that arrive one after the other, and who answers over all of them."""

import json
import pathlib

import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.data import load
from keras_memvit.experiments import incremental_report
from keras_memvit.experiments.learners import METHODS
from keras_memvit.experiments.learners import own_logits
from keras_memvit.experiments.measures import measure
from keras_memvit.experiments.settings import backbone_name
from keras_memvit.experiments.settings import check_settings
from keras_memvit.experiments.smoke import smoke_backbone
from keras_memvit.experiments.smoke import smoke_data
from keras_memvit.experiments.stream import READOUTS
from keras_memvit.experiments.stream import arrival
from keras_memvit.experiments.stream import train_stream
from keras_memvit.files.atomic import write_json
from keras_memvit.states import precompute

SETTINGS = ("data", "backbone", "image_size", "max_per_class", "tasks", "readout")
SETTINGS += ("learning_rate", "epochs", "batch_size", "random_features", "smoke")
SMOKE_CLASSES = 6


def run(args):
    """Runs what is not there yet and writes the table, CSV and plot.

    Args:
        args: the command's arguments, see `__main__`.

    Returns:
        The rows of the table, a list of dicts.
    """
    output = pathlib.Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    check_settings(output, args, SETTINGS)
    found = load(
        smoke_data(SMOKE_CLASSES) if args.smoke else args.data,
        image_size=args.image_size,
        batch_size=args.batch_size,
        augment=None,
        validation_split=0.3,
        max_per_class=args.max_per_class,
    )
    if len(found.tasks) != 1 or found.tasks[0].kind != "single_label":
        raise ValueError(
            "`--data` must have one class an image. Received the tasks "
            f"{[(spec.name, spec.kind) for spec in found.tasks]}"
        )
    num_classes = len(found.class_names)
    arrival(num_classes, args.tasks, 0)  # refuses before the work
    backbone = smoke_backbone() if args.smoke else args.backbone
    shape = (args.image_size, args.image_size, 3)
    backbone, _ = convert(backbone, image_shape=shape)
    stores = {
        split: precompute(backbone, batches.ordered(), output / "states" / split)
        for split, batches in (("train", found.train), ("test", found.validation))
    }
    cells = {}
    for seed in range(args.seeds):
        cells[seed] = _order(backbone, stores, num_classes, seed, output, args)
    rows = [_row(name, [cells[seed][name] for seed in cells]) for name in args.methods]
    facts = {
        "backbone": backbone_name(args),
        "data": args.name,
        "image_size": args.image_size,
        "classes": num_classes,
        "sizes": [len(group) for group in arrival(num_classes, args.tasks, 0)],
        "train": len(found.train.examples),
        "test": len(found.validation.examples),
        "skipped": len(found.skipped),
        "epochs": None if args.readout == "ridge" else args.epochs,
        "readout": READOUTS[args.readout].words,
        "seeds": args.seeds,
    }
    incremental_report.write(output, rows, facts)
    return rows


def _order(backbone, stores, num_classes, seed, output, args):
    """Figures of all methods on one order of the classes, a dict by method."""
    path = output / "cells" / f"{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in args.methods if name not in done]
    if not missing:
        return done
    folder = output / "tasks" / str(seed)
    stream = train_stream(backbone, stores, num_classes, seed, folder, args)
    sizes = list(stream.sizes.values())
    for name in missing:
        answers = METHODS[name][1](stream)
        own = own_logits(name, stream)
        done[name] = measure(answers, stream.test.labels, sizes, own)
        write_json(path, done)
        print(incremental_report.line(name, seed, done[name]), flush=True)
    return done


def _row(name, cells):
    """One row of the table: mean and standard deviation over the orders."""
    row = {"method": name, "cells": cells}
    for column in ("last", "average", "task", "known", "forgetting"):
        values = [cell[column] for cell in cells]
        row[column] = None if None in values else _statistics(values)
    scores = [cell["unknown"] or [] for cell in cells]
    for i, column in enumerate(("unknown", "unknown_mahalanobis")):
        values = [score[i] for score in scores if len(score) > i]
        row[column] = _statistics(values) if values else None
    return row


def _statistics(values):
    return [float(np.mean(values)), float(np.std(values))]
