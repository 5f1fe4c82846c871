"""Training in every regime: masked candidates all at once, any other one alone."""

import dataclasses

import keras
import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.data import LabelledImages
from keras_memvit.experiments.forgetting import output_change
from keras_memvit.models.build import build
from keras_memvit.models.compose import rename
from keras_memvit.recipes.learn import learn
from keras_memvit.rivals.baseline import baseline
from keras_memvit.rivals.rival import Rival
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.training.data_length import num_batches
from keras_memvit.training.fit_callbacks import EpochOfData


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

    `optimizer` is a name in `OPTIMIZERS`.

    Returns:
        A list of dicts `validation`, `test` (accuracies), `parameters` and
        `output_change`, in the order of `candidates`; and a model of the last
        candidate, its task named "task".
    """
    names = [f"c{i}" for i in range(len(candidates))]
    spec = {"num_memory_tokens": cells, **regime.masked}
    model = build(backbone, [TaskSpec(n, splits.num_classes, **spec) for n in names])
    for name, (_, seed) in zip(names, candidates):
        model.task_layers[name].start(seed)
    groups = dict.fromkeys(model.task_layers[names[0]].parameter_groups, 1.0)
    groups["head"] = regime.head_rate
    rates = {
        name: {group: rate * factor for group, factor in groups.items()}
        for name, (rate, _) in zip(names, candidates)
    }
    model.compile(
        regime.make_optimizer(optimizer, 1.0), learning_rate_multipliers=rates
    )
    options = {"batch_size": batch_size, "verbose": 0}
    train = splits.stores["train"].labelled_for(names)
    model.fit(train, epochs=epochs, **options)
    accuracy = {}
    for split in ("validation", "test"):
        store = splits.stores[split].labelled_for(names)
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
    optimizer = regime.make_optimizer(optimizer, rate)
    if regime.from_stores:
        train, validation, test = _features(splits)
        model = _head_of_features(splits)
    else:
        train, validation, test = (
            (data, None) for data in (splits.train, splits.validation, splits.test)
        )
        steps = epochs * num_batches(splits.train)
        model = _model_of_images(backbone, splits, regime, cells, steps, dtype)
    if regime.rival:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # Which `MemoryViT.fit` does by itself:
        optimizer._learning_rate.span(0, epochs * num_batches(train[0]))
        model.compile(optimizer, loss, metrics=["accuracy"])
    else:
        model.compile(optimizer)
    # A plain Keras model does not tell the data which epoch it is: without it
    # the order would stay the same.
    callbacks = [] if regime.from_stores else [EpochOfData(splits.train)]
    model.fit(*train, epochs=epochs, callbacks=callbacks, verbose=0)
    found = {}
    for split, data in (("validation", validation), ("test", test)):
        logs = model.evaluate(*data, return_dict=True, verbose=0)
        found[split] = logs.get("accuracy", logs.get("task_accuracy"))
    found["parameters"] = _num_learned(model)
    if not regime.from_stores:  # a head has no encoder of its own
        frozen, _ = convert(backbone, dtype=dtype)
        found["output_change"] = output_change(frozen, model, splits.test[0][0])
    return found


def train_learned(backbone, splits, seed, output, args):
    """What `recipes.learn` makes of the training and the validation part.

    Args:
        backbone: a `ViTBackbone`.
        splits: `Splits`; `learn` judges by the validation part, too.
        seed: int.
        output: the folder, which keeps the frozen states and finished candidates.
        args: the command's arguments.

    Returns:
        A dict as of `train_masked`, and `chosen`, the candidate and its epochs.
    """
    names = [str(label) for label in range(splits.num_classes)]
    result = learn(
        LabelledImages(splits.train, splits.validation, names, []),
        backbone,
        name="task",
        budget={"candidates": 2} if args.smoke else None,
        seed=seed,
        epochs=args.learn_epochs,
        cache=output / "learn",
        report=False,
        verbose=0,
    )
    store = splits.stores["test"]
    options = {"batch_size": args.batch_size, "verbose": 0}
    logits = result.model.predict(store.with_labels({}), **options)["task"]
    right = logits.argmax(axis=-1) == store.targets["labels"]
    chosen, epochs = result.candidate.words, result.table[0]["epochs"]
    return {
        "validation": result.val_score,
        "test": float(np.mean(right)),
        "parameters": result.model.task_layers["task"].count_params(),
        "output_change": output_change(backbone, result.model, splits.test[0][0]),
        "chosen": chosen if epochs is None else f"{chosen}, {epochs} epochs",
    }


def _features(splits):
    """Frozen features and labels of each split."""
    return [
        (splits.features[split], splits.stores[split].targets["labels"])
        for split in ("train", "validation", "test")
    ]


def _head_of_features(splits):
    width = splits.features["train"].shape[1]
    return keras.Sequential(
        [keras.Input((width,)), keras.layers.Dense(splits.num_classes)]
    )


def _num_learned(model):
    if isinstance(model, Rival):
        return model.num_learned()
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def _model_of_images(backbone, splits, regime, cells, steps, dtype):
    """A rival, or one task whose memory all tokens see."""
    if regime.rival is None:
        spec = TaskSpec("task", splits.num_classes, cells)
        return build(backbone, spec, attention="unmasked", dtype=dtype)
    return baseline(
        backbone,
        splits.num_classes,
        regime.rival,
        image_shape=(*splits.train.image_size, 3),
        num_memory_tokens=cells,
        policy_steps=max(steps // 2, 1),  # the rest for what it chose
        dtype=dtype,
        **(regime.options or {}),
    )
