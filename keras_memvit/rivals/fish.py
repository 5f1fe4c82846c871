"""FISH mask: only the weights with the largest Fisher information are trained."""

import numbers

import keras
import numpy as np
from keras import ops

from keras_memvit.rivals.full import Full
from keras_memvit.rivals.plain import copy_head
from keras_memvit.rivals.plain import plain
from keras_memvit.rivals.rival import Rival
from keras_memvit.rivals.rival import pooled
from keras_memvit.rivals.squared_gradients import fisher
from keras_memvit.tasks.counts import as_count

KINDS = ("empirical", "expected")


class Fish(Rival):
    """The share `keep` of the backbone's weights that matter most, and the head.

    The `k = round(keep * P)` of `P` weights with the largest Fisher information on
    a few examples are trained as one vector `(k,)`, written over the frozen weights
    in each pass: all others keep every bit, whatever the optimiser, and it has no
    state for them. The head is outside the competition and always trained. The mask
    is fixed before the first step: by `choose`, or by `fit` and `train_on_batch` on
    the first `num_examples` examples that they are given. A step is that of the
    original, also where weights decay.

    Args:
        backbone, num_classes: see `Rival`.
        keep: float in (0, 1], the share of weights. Defaults to `0.005`.
        num_examples: int. Examples that `fit` chooses by. Defaults to `256`.
        fisher: `"empirical"`, of the examples' labels, or `"expected"`, of all
            classes by the model's own probabilities, which takes as many times as
            long as there are classes. Defaults to `"empirical"`.

    Reference:
        - [Sung et al., 2021](https://arxiv.org/abs/2111.09839)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        keep=0.005,
        num_examples=256,
        fisher="empirical",
    ):
        super().__init__(backbone, num_classes)
        number = isinstance(keep, numbers.Real) and not isinstance(keep, bool)
        if not (number and 0.0 < keep <= 1.0):
            raise ValueError(
                "`keep`, the share of weights that are trained, must be a number "
                f"above 0 and at most 1. Received: keep={keep!r}"
            )
        if fisher not in KINDS:
            raise ValueError(
                f"`fisher` must be one of {KINDS}. Received: fisher={fisher!r}"
            )
        self.keep = keep
        self.num_examples = as_count(num_examples, "`num_examples`")
        self.fisher = fisher
        # Else a global mixed policy would round all weights on their way.
        self.dtype_policy = "float32"

    def build(self, input_shape):
        total = sum(int(np.prod(w.shape)) for w in self.backbone.weights)
        count = max(round(self.keep * total), 1)
        fixed = {"dtype": "int32", "trainable": False, "initializer": "zeros"}
        self.kept = self.add_weight(name="kept", shape=(count,), **fixed)
        self.is_chosen = self.add_weight(name="is_chosen", shape=(), **fixed)
        self.values = self.add_weight(name="values", shape=(count,), dtype="float32")
        super().build(input_shape)
        self._keep(np.arange(count))

    def choose(self, images, labels):
        """Fixes which weights are trained, and starts them as they are pretrained.

        Args:
            images: `(n, H, W, 3)` in [0, 255].
            labels: `(n,)` ints.

        Raises:
            ValueError: if there are no images, or not as many labels.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if not len(images) or labels.shape != (len(images),):
            raise ValueError(
                "`images` must be at least one, and `labels` an int for each. "
                f"Received: images of shape {images.shape}, labels of {labels.shape}"
            )
        model = Full(self.backbone.replicate(), self.head.units)
        model.build((None, *self.backbone.image_shape))
        copy_head(self, model)
        found = fisher(model, images, labels, self.fisher)
        by_variable = {id(v): f for v, f in zip(model.trainable_variables, found)}
        flat = np.concatenate(
            [by_variable[id(w)].ravel() for w in model.backbone.weights]
        )
        # Stable: of equal ones the first.
        largest = np.argsort(-flat, kind="stable")[: self.values.shape[0]]
        self._keep(np.sort(largest))
        self.is_chosen.assign(1)

    def fit(self, x=None, y=None, *args, **kwargs):
        self._choose_once(x, y)
        return super().fit(x, y, *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self._choose_once(x, y)
        return super().train_on_batch(x, y, *args, **kwargs)

    def features(self, images):
        with keras.StatelessScope(self._written(), initialize_variables=False):
            return pooled(self.backbone(images), self.backbone)

    def merged(self):
        """A plain model with the trained weights in their places.

        Returns:
            A `keras.Model` as of `baseline(backbone, num_classes, "head")`.
        """
        model = plain(self)
        for weight, (_, value) in zip(model.backbone.weights, self._written()):
            weight.assign(value)
        return model

    def _written(self):
        """Pairs of the backbone's weights and their values with what is trained."""
        weights = self.backbone.weights
        flat = ops.concatenate([ops.ravel(w.value) for w in weights])
        index = ops.expand_dims(self.kept.value, -1)
        flat = ops.scatter_update(flat, index, self.values.value)
        # Not slice by slice: each has a gradient as large as all of it.
        ends = np.cumsum([int(np.prod(w.shape)) for w in weights])
        parts = ops.split(flat, ends[:-1].tolist())
        return [(w, ops.reshape(part, w.shape)) for w, part in zip(weights, parts)]

    def _keep(self, indices):
        """Trains the weights at these indices of all, flat, from what they are."""
        weights = [ops.convert_to_numpy(w).ravel() for w in self.backbone.weights]
        self.kept.assign(indices)
        self.values.assign(np.concatenate(weights)[indices])

    def _choose_once(self, x, y):
        if not int(ops.convert_to_numpy(self.is_chosen)):
            self.choose(*_first(x, y, self.num_examples))


def _first(x, y, count):
    """The first examples of arrays or of batches `(images, labels)`."""
    if y is not None:
        return (ops.convert_to_numpy(a[:count]) for a in (x, y))
    if iter(x) is x:
        raise ValueError(
            "`x` is a generator, whose first examples would be lost in choosing the "
            "weights to train: call `choose(images, labels)` before `fit`. "
            f"Received: x={x}"
        )
    batches = (x[i] for i in range(len(x))) if hasattr(x, "__getitem__") else x
    images, labels = [], []
    for batch in batches:
        images.append(ops.convert_to_numpy(batch[0]))
        labels.append(ops.convert_to_numpy(batch[1]))
        if sum(map(len, labels)) >= count:
            break
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]
