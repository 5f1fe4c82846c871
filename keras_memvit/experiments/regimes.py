"""Training in every regime of the paper's Table 2, and beside it."""

import copy
import dataclasses

import keras
import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.experiments.forgetting import output_change
from keras_memvit.models.build import build
from keras_memvit.models.compose import rename
from keras_memvit.recipes import adamw_optimizer
from keras_memvit.recipes import paper_optimizer
from keras_memvit.rivals.baseline import baseline
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.training.fit_callbacks import EpochOfData

# What a masked task trains: `cells` memory tokens a layer, and the readout.
MASKED = {
    "masked": {"readout": "class_token"},
    "deep": {"readout": "deep"},
    "deep4": {"readout": "deep", "num_query_tokens": 4},
}
# Of the learning rate: at 3e-3 a wide head did 1.2, 0.5 and 0.1 points better so
# (three data sets, three seeds); at 1e-3 no better.
HEAD_RATE = {"deep4": 0.3}
BASELINES = {
    "full": "full",
    "head": "head",
    "class": "head_class",
    "lora": "lora",
    "ia3": "ia3",
    "propagated": "propagated",
    "updated": "propagated_update",
}
REGIMES = (*BASELINES, "unmasked", *MASKED)
FROM_STORES = ("head", *MASKED)  # without images; all others train from these
WITH_CELLS = ("propagated", "updated", "unmasked", *MASKED)
# Learning rates tried by optimiser; "" stands for all regimes not named.
RATES = {
    "adamw": {
        "full": (1e-5, 3e-5, 1e-4),
        "ia3": (1e-3, 3e-3, 1e-2),
        "class": (1e-3, 3e-3, 1e-2),
        "masked": (1e-3, 3e-3, 1e-2, 3e-2),
        # At 1e-2 one seed of three was lost where all tokens see the memory.
        "": (1e-3, 3e-3),
    },
    "sgd": {
        "head": (0.1, 0.3, 1.0, 3.0),
        "masked": (0.03, 0.1, 0.3, 1.0),
        "": (0.01, 0.03, 0.1),
    },
}
OPTIMIZERS = {"adamw": adamw_optimizer, "sgd": paper_optimizer}


def optimizer_of(regime, asked):
    """The name of the optimiser that trains this regime; a head needs SGD only."""
    return "sgd" if regime == "head" else asked


def rates_of(regime, asked):
    """The learning rates to try for this regime."""
    rates = RATES[optimizer_of(regime, asked)]
    return rates.get(regime, rates[""])


@dataclasses.dataclass
class Splits:
    """Data for one experiment: images by split, and for masked tasks stores.

    Attributes:
        train, validation, test: `ImageBatches`.
        stores: dict of `StateStore` by split.
        features: dict by split of the frozen class token `(n, D)`.
        num_classes: int.
    """

    train: object
    validation: object
    test: object
    stores: dict
    features: dict
    num_classes: int


def train_masked(
    backbone, splits, regime, cells, candidates, epochs, batch_size, optimizer
):
    """Trains all `(rate, seed)` of a masked regime at once, as tasks of one model.

    Returns:
        A list of dicts `validation`, `test` (accuracies), `parameters` and
        `output_change`, in the order of `candidates`; and a model of the last
        candidate, its task named "task".
    """
    names = [f"c{i}" for i in range(len(candidates))]
    spec = {"num_memory_tokens": cells, **MASKED[regime]}
    model = build(backbone, [TaskSpec(n, splits.num_classes, **spec) for n in names])
    for name, (_, seed) in zip(names, candidates):
        model.task_layers[name].start(seed)
    groups = dict.fromkeys(model.task_layers[names[0]].parameter_groups, 1.0)
    groups["head"] = HEAD_RATE.get(regime, 1.0)
    rates = {
        name: {group: rate * factor for group, factor in groups.items()}
        for name, (rate, _) in zip(names, candidates)
    }
    optimizer = OPTIMIZERS[optimizer_of(regime, optimizer)](1.0)
    model.compile(optimizer, learning_rate_multipliers=rates)
    options = {"batch_size": batch_size, "verbose": 0}
    model.fit(_for_all(splits.stores["train"], names), epochs=epochs, **options)
    accuracy = {}
    for split in ("validation", "test"):
        store = _for_all(splits.stores[split], names)
        accuracy[split] = model.evaluate(store, return_dict=True, **options)
    facts = {
        "parameters": model.task_layers[names[0]].count_params(),
        "output_change": output_change(backbone, model, splits.test[0][0]),
    }
    results = [
        {
            **{split: logs[f"{name}_accuracy"] for split, logs in accuracy.items()},
            **facts,
        }
        for name in names
    ]
    return results, rename(model, names[-1], "task")


def train_alone(
    backbone, splits, regime, cells, rate, seed, epochs, optimizer, dtype=None
):
    """Trains one candidate of any other regime, from images or frozen features.

    `optimizer` is a name in `OPTIMIZERS`, `dtype` the precision of those trained
    from images.
    """
    keras.utils.set_random_seed(seed)
    shape = splits.train.image_size
    if regime == "head":
        train, validation, test = (
            (splits.features[split], splits.stores[split].targets["labels"])
            for split in ("train", "validation", "test")
        )
        width = splits.features["train"].shape[1]
        model = keras.Sequential(
            [keras.Input((width,)), keras.layers.Dense(splits.num_classes)]
        )
    else:
        train = (splits.train, None)
        validation, test = (splits.validation, None), (splits.test, None)
        if regime == "unmasked":
            spec = TaskSpec("task", splits.num_classes, cells)
            model = build(backbone, spec, attention="unmasked", dtype=dtype)
        else:
            model = baseline(
                backbone,
                splits.num_classes,
                BASELINES[regime],
                image_shape=(*shape, 3),
                num_memory_tokens=cells,
                dtype=dtype,
            )
    optimizer = OPTIMIZERS[optimizer_of(regime, optimizer)](rate)
    if regime == "unmasked":
        model.compile(optimizer)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        schedule = optimizer._learning_rate
        batches = len(train[0]) if train[1] is None else -(-len(train[0]) // 32)
        schedule.span(0, epochs * batches)  # which `MemoryViT.fit` does by itself
        model.compile(optimizer, loss, metrics=["accuracy"])
    # A plain Keras model does not tell the data which epoch it is: without it
    # the order would stay the same.
    callbacks = [] if regime in FROM_STORES else [EpochOfData(splits.train)]
    model.fit(*train, epochs=epochs, callbacks=callbacks, verbose=0)
    found = {}
    for split, data in (("validation", validation), ("test", test)):
        logs = model.evaluate(*data, return_dict=True, verbose=0)
        found[split] = logs.get("accuracy", logs.get("task_accuracy"))
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    found["parameters"] = count
    if regime != "head":  # which has no encoder of its own
        frozen, _ = convert(backbone, dtype=dtype)
        found["output_change"] = output_change(frozen, model, splits.test[0][0])
    return found


def _for_all(store, names):
    """Every candidate learns from the same labels."""
    store = copy.copy(store)
    store.targets = {f"labels/{name}": store.targets["labels"] for name in names}
    return store
