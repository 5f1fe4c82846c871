"""Training candidates side by side: tasks of one model, from one store."""

import json
import pathlib

import numpy as np

from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json
from keras_memvit.models.build import build
from keras_memvit.recipes.curves import Judge
from keras_memvit.recipes.curves import curves_of
from keras_memvit.recipes.curves import predict_store
from keras_memvit.recipes.digest import digest
from keras_memvit.recipes.prune import prune
from keras_memvit.recipes.resume import resume
from keras_memvit.recipes.scoring import SCORING
from keras_memvit.training.schedules import adamw_optimizer

PRUNING_EPOCHS = 10
PERFECT_LOSS = 0.01  # nats an image: right with a probability of 0.99


def train(
    backbone,
    specs,
    candidates,
    store,
    labels,
    epochs,
    seed,
    progress,
    unfinished=None,
    callbacks=(),
    **options,
):
    """Trains tasks from one store, each as if alone, and prunes those that it must.

    Killed and called again, it goes on after the last whole epoch.

    Args:
        backbone: a `ViTBackbone`.
        specs: list of `TaskSpec`, one a candidate.
        candidates: list of `Candidate` with one weight decay.
        store: the `StateStore`.
        labels: dict by task name of labels of all rows, -1 or NaN = held out.
        epochs: int.
        seed: int, of every task's initial values.
        progress: `Progress`.
        unfinished: file that keeps a training which was killed; None: it begins anew.
        callbacks: optional list, of `fit`.
        **options: of `fit`.

    Returns:
        A `MemoryViT`; its `history` has the losses by epoch, before any pruning, and
        since it was last killed.
    """
    model = build(backbone, specs)
    rates = {}
    for spec, candidate in zip(specs, candidates):
        layer = model.task_layers[spec.name]
        layer.start(seed)
        groups = dict.fromkeys(layer.parameter_groups, candidate.learning_rate)
        groups["head"] = candidate.learning_rate * candidate.head_rate
        rates[spec.name] = groups
    optimizer = adamw_optimizer(1.0, weight_decay=candidates[0].weight_decay)
    model.compile(optimizer, metrics=[], learning_rate_multipliers=rates)
    kept = [] if unfinished is None else [resume(unfinished)]
    model.fit(
        store.with_labels(labels).drop_remainder(),
        epochs=epochs,
        callbacks=[progress.callback(step_cost(len(specs))), *callbacks, *kept],
        verbose=0,
        **options,
    )
    history = model.history
    for spec, candidate in zip(specs, candidates):
        if candidate.budget is not None:
            own = store.with_labels({spec.name: labels[spec.name]})
            model = prune(
                model,
                spec.name,
                candidate.budget,
                own,
                epochs=min(epochs, PRUNING_EPOCHS),
                learning_rate=pruning_rate(candidate),
                seed=seed,
                **options,
            )
    model.history = history
    return model


def pruning_rate(candidate):
    """The head's rate where dropped parts take a share of the head with them."""
    of_head = candidate.readout.parts_are_features
    return candidate.learning_rate * (candidate.head_rate if of_head else 1.0)


def step_cost(num_tasks):
    """About what a step of so many tasks takes, in units of progress."""
    return 1 + num_tasks  # reading the states takes about as long as a task


def held_out_logits(
    backbone, candidates, store, labels, folds, num_classes, kind, epochs, **options
):
    """Every candidate's logits of the judged rows, by tasks that did not see them.

    Where there is one fold, the judged rows are also answered after every epoch.

    Args:
        store: of all examples.
        labels: ints `(n,)`, or float32 `(n, C)`.
        folds: `Folds`.
        num_classes: int.
        kind: str, of the task.
        epochs: int.
        **options: of `train`.

    Returns:
        `(logits, curves)`: array `(len(candidates), judged, num_classes)`; list of
        one dict a candidate from `"loss"`, `"val_loss"`, `"val_accuracy"` to the
        values by epoch, the latter two where there is one fold.
    """
    specs, targets = [], {}
    for i, candidate in enumerate(candidates):
        for fold in range(folds.count):
            specs.append(candidate.spec(f"c{i}-{fold}", num_classes, kind=kind))
            unknown = SCORING[kind].unknown
            targets[specs[-1].name] = folds.labels(labels, fold, unknown)
    repeated = [c for c in candidates for _ in range(folds.count)]
    rows = folds.judged
    judge = Judge(store.subset(rows), labels[rows], SCORING[kind])
    model = train(
        backbone,
        specs,
        repeated,
        store.subset(folds.trained),
        targets,
        epochs,
        callbacks=[judge] if folds.count == 1 else [],
        **options,
    )
    answers = predict_store(model, store.subset(rows))
    found = np.zeros((len(candidates), len(rows), num_classes), "float32")
    for i in range(len(candidates)):
        for fold in range(folds.count):
            mine = folds.fold[rows] == fold
            found[i, mine] = answers[f"c{i}-{fold}"][mine]
    history = model.history.history
    return found, curves_of(history, judge, len(candidates), folds.count, epochs)


class Trials:
    """Candidates and how they did on images that they did not see.

    Args:
        backbone: a `ViTBackbone`.
        store: the `StateStore` of all images.
        labels: ints `(n,)`, or float32 `(n, C)`.
        folds: `Folds`.
        num_classes: int.
        folder: where finished trials are kept for the next call.
        kind: str, of the task.
        **options: of `train`.

    Attributes:
        logits: dict from `Candidate` to `(judged, num_classes)`.
        curves: dict from `Candidate` to what each epoch gave.
        epochs: dict from `Candidate` to the epochs behind these, None without.
    """

    def __init__(
        self, backbone, store, labels, folds, num_classes, folder, kind, **options
    ):
        self.backbone = backbone
        self.store = store
        self.labels = labels
        self.folds = folds
        self.num_classes = num_classes
        self.folder = pathlib.Path(folder)
        self.kind = kind
        self.scoring = SCORING[kind]
        self.options = options
        self.logits, self.epochs, self.curves = {}, {}, {}

    def add(self, candidate, logits, epochs=None, curves=None):
        """Enters what a candidate answered to the judged images."""
        self.logits[candidate], self.epochs[candidate] = logits, epochs
        self.curves[candidate] = curves or {}

    def cost(self, num_candidates, epochs):
        """About what it takes to train that many, in units of progress."""
        steps = -(-len(self.folds.trained) // self.options["batch_size"])
        return epochs * steps * step_cost(num_candidates * self.folds.count)

    def run(self, candidates, epochs):
        """Trains candidates of one weight decay, unless that was done before."""
        file = self.folder / f"{digest(repr(candidates), epochs)}.npy"
        kept = file.with_suffix(".json")
        if not (file.exists() and kept.exists()):
            answers, curves = held_out_logits(
                self.backbone,
                candidates,
                self.store,
                self.labels,
                self.folds,
                self.num_classes,
                self.kind,
                epochs=epochs,
                unfinished=file.with_suffix(".resume"),
                **self.options,
            )
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(kept, curves)
            with open_whole(file) as whole:
                np.save(whole, answers)
        curves = json.loads(kept.read_text())
        for candidate, answer, curve in zip(candidates, np.load(file), curves):
            self.add(candidate, answer, epochs, curve)

    def rank(self, candidate):
        """`(-score, loss)`, the loss at its best temperature: the least is best.

        What is not finite comes last.
        """
        logits, labels = self.logits[candidate], self.labels[self.folds.judged]
        if not np.isfinite(logits).all():
            return (-self.scoring.worst, float("inf"))
        loss = self.scoring.loss(logits / self.temperature(candidate), labels)
        return (-self.scoring.score(logits, labels), loss)

    def is_perfect(self, candidate):
        """Whether no other could be better by more than its confidence."""
        score, loss = self.rank(candidate)
        return score == -1.0 and loss < PERFECT_LOSS

    def temperature(self, candidate):
        """What to divide a candidate's logits by."""
        labels = self.labels[self.folds.judged]
        return self.scoring.temperature(self.logits[candidate], labels)

    def ordered(self):
        """The candidates, best first."""
        return sorted(self.logits, key=self.rank)
