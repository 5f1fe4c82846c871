"""Tasks that arrive in turn: the order of classes, and tasks trained one by one."""

import dataclasses

import numpy as np

from keras_memvit.models.build import build
from keras_memvit.models.sharing import load_task
from keras_memvit.models.sharing import save_task
from keras_memvit.models.unified.unified_vit import features_and_logits
from keras_memvit.readouts import Deep
from keras_memvit.recipes.candidates import RIDGE
from keras_memvit.recipes.candidates import Candidate
from keras_memvit.recipes.ridge_head import RidgeHead
from keras_memvit.training.schedules import adamw_optimizer

READOUTS = {
    "side": Candidate("side", learning_rate=6e-3, weight_decay=0.1),
    "deep": Candidate("deep", learning_rate=3e-3),
    "deep4": Candidate(Deep(4), learning_rate=3e-3, head_rate=0.3),
    "class_token": Candidate("class_token", learning_rate=1e-2),
    "ridge": RIDGE,
}
JOINT = "joint"


@dataclasses.dataclass
class Images:
    """Images as all methods of the table have them.

    Attributes:
        features: float32 `(n, F)`, frozen; those that `unify` reads.
        labels: ints `(n,)`, classes in the order of arrival.
        logits: dict by task name of `(n, C_t)`; `"joint"` is over all classes.
    """

    features: np.ndarray
    labels: np.ndarray
    logits: dict


@dataclasses.dataclass
class Stream:
    """One order of the classes, and its images.

    Attributes:
        sizes: dict from task name to its number of classes, in the order of arrival.
        train, test: `Images`.
        seed: int.
        random_features: int, of `unify`'s ridge.
    """

    sizes: dict
    train: Images
    test: Images
    seed: int
    random_features: int = 2048

    def task_rows(self, step):
        """Which training images are of the task of a step, a mask `(n,)`."""
        first, end = self.bounds(step)
        return (self.train.labels >= first) & (self.train.labels < end)

    def bounds(self, step):
        """The classes of a step's task: first, and one after the last."""
        ends = np.cumsum([0, *self.sizes.values()])
        return int(ends[step]), int(ends[step + 1])


def arrival(num_classes, num_tasks, seed):
    """The order in which classes arrive, split into tasks of about one size.

    Returns:
        A list of arrays of class numbers.

    Raises:
        ValueError: unless each task has at least two classes.
    """
    if not 2 <= num_tasks <= num_classes // 2:
        raise ValueError(
            f"`--tasks` must be from 2 to {num_classes // 2}, so that each of them has "
            f"at least two of the {num_classes} classes. Received: {num_tasks}"
        )
    order = np.random.default_rng(seed).permutation(num_classes)
    return np.array_split(order, num_tasks)


def train_stream(backbone, stores, num_classes, seed, folder, args):
    """Trains what is not in `folder` yet, task after task, then all classes jointly.

    Args:
        backbone: a `ViTBackbone`.
        stores: dict of `StateStore` of `"train"` and `"test"`, labelled by class.
        num_classes: int.
        seed: int: the order of classes, and what training draws.
        folder: where task files are kept.
        args: the command's arguments.

    Returns:
        A `Stream`.
    """
    groups = arrival(num_classes, args.tasks, seed)
    place = np.argsort(np.concatenate(groups))  # of each class in the order
    labels = {s: place[store.targets["labels"]] for s, store in stores.items()}
    sizes = {f"task{k + 1}": len(group) for k, group in enumerate(groups)}
    folder.mkdir(parents=True, exist_ok=True)
    paths, first = [], 0
    for name, size in {**sizes, JOINT: num_classes}.items():
        first = 0 if name == JOINT else first
        paths.append(folder / f"{name}.safetensors")
        if not paths[-1].exists():
            own = labels["train"] - first
            rows = np.flatnonzero((own >= 0) & (own < size))
            store = stores["train"].subset(rows).with_labels({name: own[rows]})
            save_task(_train(backbone, store, name, size, seed, args), name, paths[-1])
            print(f"order {seed}: trained {name} on {len(rows)} images", flush=True)
        first += size
    model = load_task(backbone, paths)
    images = {}
    for split, store in stores.items():
        batches = store.batches(args.batch_size)
        inputs = (batches[i][0] for i in range(len(batches)))
        features, logits = features_and_logits(model, inputs)
        images[split] = Images(features, labels[split], logits)
    return Stream(sizes, images["train"], images["test"], seed, args.random_features)


def _train(backbone, store, name, num_classes, seed, args):
    """A model of one task, trained on what the store holds."""
    candidate = READOUTS[args.readout]
    spec = candidate.spec(name, num_classes)
    if args.readout == "ridge":
        labels = store.targets[f"labels/{name}"]
        return RidgeHead(backbone, store, seed).model(backbone, spec, labels)
    model = build(backbone, spec)
    layer = model.task_layers[name]
    layer.start(seed)
    rates = dict.fromkeys(layer.parameter_groups, 1.0)
    rates["head"] = candidate.head_rate
    rate = args.learning_rate or candidate.learning_rate
    model.compile(
        adamw_optimizer(rate, weight_decay=candidate.weight_decay),
        learning_rate_multipliers={name: rates},
    )
    model.fit(store, epochs=args.epochs, batch_size=args.batch_size, verbose=0)
    return model
