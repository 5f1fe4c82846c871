"""The paper's Table 2 on any data and backbone: accuracy by regime and cells."""

import json
import pathlib

import keras
import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.data import ImageBatches
from keras_memvit.data import load
from keras_memvit.data.load import split_by_class
from keras_memvit.experiments import report
from keras_memvit.experiments.regimes import REGIMES
from keras_memvit.experiments.settings import backbone_name
from keras_memvit.experiments.settings import check_settings
from keras_memvit.experiments.smoke import smoke_backbone
from keras_memvit.experiments.smoke import smoke_data
from keras_memvit.experiments.training import Splits
from keras_memvit.experiments.training import train_alone
from keras_memvit.experiments.training import train_learned
from keras_memvit.experiments.training import train_masked
from keras_memvit.files.atomic import write_json
from keras_memvit.models.build import build
from keras_memvit.rivals.rival import pooled
from keras_memvit.states import precompute

SETTINGS = ("data", "backbone", "image_size", "max_per_class", "augment", "views")
SETTINGS += ("epochs", "image_epochs", "batch_size", "optimizer", "dtype", "smoke")
VALIDATION = 0.15  # of the training part, for the choice of the learning rate


def run(args):
    """Runs what is not there yet and writes the table, CSV and plots.

    Args:
        args: the command's arguments, see `__main__`.

    Returns:
        The rows of the table, a list of dicts.
    """
    output = pathlib.Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    check_settings(output, args, SETTINGS)
    source = smoke_data() if args.smoke else args.data
    backbone = smoke_backbone() if args.smoke else args.backbone
    shape = (args.image_size, args.image_size, 3)
    backbone, _ = convert(backbone, image_shape=shape)
    splits, class_names, skipped = _splits(backbone, source, output, args)
    rows = []
    for name, counts in args.regimes:
        for cells in counts:
            rows.append(_cell(backbone, splits, REGIMES[name], cells, output, args))
            print(report.line(rows[-1]), flush=True)
    facts = {
        "backbone": backbone_name(args),
        "data": args.name,
        "image_size": args.image_size,
        "classes": len(class_names),
        "train": len(splits.train.examples),
        "validation": len(splits.validation.examples),
        "test": len(splits.test.examples),
        "skipped": len(skipped),
        "epochs": args.epochs,
        "seeds": args.seeds,
        "image_epochs": args.image_epochs,
        "image_seeds": args.image_seeds,
        "optimizer": args.optimizer,
        "base_difference": _base_difference(backbone, splits),
    }
    report.write(output, rows, facts)
    return rows


def _cell(backbone, splits, regime, cells, output, args):
    """One cell of the table: the best rate by validation, then all seeds."""
    rates = regime.rates(args.optimizer)
    if not regime.learned:
        rates = args.learning_rates or rates
    path = output / "cells" / f"{regime.name}-{cells}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(path.read_text()) if path.exists() else {}

    def key(rate, seed):
        return f"{rate}/{seed}"

    def train(candidates):
        missing = [c for c in candidates if key(*c) not in done]
        if regime.masked and missing:
            options = (args.epochs, args.batch_size, args.optimizer)
            found, model = train_masked(
                backbone, splits, regime, cells, missing, *options
            )
            report.write_attention(output, model, splits.test[0][0][0])
            done.update({key(*c): result for c, result in zip(missing, found)})
            write_json(path, done)
        for rate, seed in missing if not regime.masked else ():
            if regime.learned:
                found = train_learned(backbone, splits, seed, output, args)
            else:
                epochs = args.epochs if regime.from_stores else args.image_epochs
                options = (epochs, args.optimizer, args.dtype)
                found = train_alone(
                    backbone, splits, regime, cells, rate, seed, *options
                )
            done[key(rate, seed)] = found
            write_json(path, done)

    train([(rate, 0) for rate in rates])
    best = max(rates, key=lambda rate: done[key(rate, 0)]["validation"])
    seeds = range(args.seeds if regime.from_stores else args.image_seeds)
    train([(best, seed) for seed in seeds])
    results = [done[key(best, seed)] for seed in seeds]
    accuracies = [result["test"] for result in results]
    return {
        "regime": regime.name,
        "cells": cells,
        "learning_rate": best,
        "mean": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies)),
        "accuracies": accuracies,
        "parameters": results[0]["parameters"],
        "output_change": results[0].get("output_change"),
        **({"chosen": [r["chosen"] for r in results]} if regime.learned else {}),
    }


def _splits(backbone, source, output, args):
    """Training, validation and test part; stores and features where needed."""
    found = load(
        source,
        image_size=args.image_size,
        batch_size=args.batch_size,
        augment=None if args.augment == "none" else args.augment,
        validation_split=0.3,
        max_per_class=args.max_per_class,
    )
    rng = np.random.default_rng(0)
    kept, held_out = split_by_class(found.train.examples, VALIDATION, rng)
    options = (found.train.image_size, args.batch_size)
    splits = Splits(
        ImageBatches(kept, *options, found.train.augment, shuffle=True, seed=0),
        ImageBatches(held_out, *options, None, shuffle=False, seed=0),
        found.validation,
        {},
        {},
        len(found.class_names),
    )
    if any(REGIMES[name].from_stores for name, _ in args.regimes):
        for split in ("train", "validation", "test"):
            batches = getattr(splits, split)
            views = args.views if split == "train" else 1
            splits.stores[split] = precompute(
                backbone, batches, output / "states" / split, views=views
            )
            splits.features[split] = _features(backbone, batches.ordered())
    return splits, found.class_names, found.skipped


def _features(backbone, batches):
    """The frozen class token after the last norm, (n, D)."""
    tokens = backbone.predict(batches, verbose=0)
    return keras.ops.convert_to_numpy(pooled(tokens, backbone))


def _base_difference(backbone, splits):
    """What a masked task with large values changes in the base tokens: 0.0."""
    model = build(backbone, {"task": 2})
    for variable in model.task_layers["task"].weights:
        variable.assign(variable.value * 100.0)
    return model.verify_unchanged(splits.test[0][0])["base"]
