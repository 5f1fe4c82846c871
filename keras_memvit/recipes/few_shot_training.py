"""Tasks trained on the support images of one episode after the other."""

import numpy as np
from keras import ops

from keras_memvit.models.build import build
from keras_memvit.recipes.candidates import Candidate
from keras_memvit.training.schedules import adamw_optimizer

# One setting for all episodes and shots: nothing is chosen on an episode's images.
TRAINED = {
    "memory": Candidate("class_token", learning_rate=3e-3),
    "side": Candidate("side", learning_rate=3e-3),
}
MAX_BATCH = 64


class EpisodeTrainer:
    """Trains readouts side by side, as tasks of one model, anew for each episode.

    Every episode begins with the same initial values and a fresh optimiser, so its
    answers do not depend on those before it; steps are compiled once.

    Args:
        backbone: a `ViTBackbone`.
        store: the `StateStore`.
        methods: names in `TRAINED`.
        ways: int.
        epochs: int, passes over the support images.
        seed: int, of initial values.
    """

    def __init__(self, backbone, store, methods, ways, epochs, seed):
        self.store, self.methods, self.epochs = store, methods, epochs
        self.model = build(backbone, [TRAINED[m].spec(m, ways) for m in methods])
        for layer in self.model.task_layers.values():
            layer.start(seed)
        rates = {m: TRAINED[m].learning_rate for m in methods}
        optimizer = adamw_optimizer(1.0, weight_decay=TRAINED[methods[0]].weight_decay)
        self.model.compile(optimizer, metrics=[], learning_rate_multipliers=rates)
        self.first = None

    def scores(self, episode):
        """Logits of the queries: dict from method to `(Q, ways)`."""
        self._start()
        labels = dict.fromkeys(self.methods, episode.support_labels)
        self.model.fit(
            self.store.subset(episode.support).with_labels(labels),
            epochs=self.epochs,
            batch_size=_batch_size(len(episode.support)),
            verbose=0,
        )
        answers = self.model.predict(self.store.subset(episode.query), verbose=0)
        return {method: answers[method] for method in self.methods}

    def _start(self):
        """As before the first episode."""
        if self.first is None:
            self.model.optimizer.build(self.model.trainable_variables)
            self.variables = [
                *self.model.trainable_variables,
                *self.model.optimizer.variables,
            ]
            self.first = [np.array(ops.convert_to_numpy(v)) for v in self.variables]
        for variable, value in zip(self.variables, self.first):
            variable.assign(value)


def _batch_size(count):
    """The largest divisor up to 64: all batches have one shape."""
    return max(size for size in range(1, MAX_BATCH + 1) if count % size == 0)
