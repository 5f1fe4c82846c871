"""Scalable weight reparametrisation: a policy chooses which weights to change."""

import keras
import numpy as np
from keras import ops

from keras_memvit.readouts.adapters.adapter import sizes
from keras_memvit.rivals.changed_block import PROJECTIONS
from keras_memvit.rivals.merging import Merging
from keras_memvit.tasks.counts import as_count

TEMPERATURES = 5.0, 0.5  # of the policy's first and last step


class SWR(Merging):
    """`W + g A B` for the projections that a policy chooses under a budget.

    A place is a projection of a layer, of `n = r (in + out)` numbers, with a logit
    `p`. In the first `policy_steps` training steps its gate is
    `g = sigmoid((p + noise) / t)`, noise logistic, `t` falling from 5 to 0.5, and the
    loss has a further term `relu(sum(n sigmoid(p)) / budget - 1)`. From then on, and
    whenever the model is not training, gates are 0 or 1: 1 for the places with the
    largest logits, as many in this order as the budget holds. Training goes on with
    these alone, and `merged` adds them to the weights; the policy is left behind.

    Of the paper this is the idea, a policy under a limit on the number of changed
    parameters that costs nothing once trained. We know no code of its authors. Our
    reading are: the places, the low-rank change (`B` starts as zeros), a free logit a
    place in the stead of a policy network, the relaxation with its temperatures, the
    loss of the budget, and choosing by rank at the end.

    Args:
        backbone, num_classes: see `Rival`.
        rank: int `r`. Defaults to `8`.
        budget: int. How many numbers may change, without the head. Defaults to
            `None`, a quarter of all places.
        policy_steps: int. Training steps until the choice is final. Defaults to
            `100`.

    Reference:
        - [Kim et al., 2023](https://arxiv.org/abs/2302.13435)
    """

    def __init__(self, backbone, num_classes, rank=8, budget=None, policy_steps=100):
        super().__init__(backbone, num_classes)
        self._gates = None  # of a training step
        # Else a global mixed policy would round the logits that rank the places.
        self.dtype_policy = "float32"
        self.rank = as_count(rank, "`rank` of the changes")
        self.policy_steps = as_count(policy_steps, "`policy_steps`")
        widths = sizes(backbone)
        one = [self.rank * sum(widths[place]) for place in PROJECTIONS]
        self.place_sizes = np.array(one * backbone.num_layers)  # (6 L,)
        quarter = max(int(self.place_sizes.sum()) // 4, max(one))
        self.budget = quarter if budget is None else as_count(budget, "`budget`")
        if self.budget < max(one):
            raise ValueError(
                f"`budget` must hold the largest place, of {max(one)} numbers with "
                f"rank={self.rank}. Received: budget={budget}"
            )

    def build(self, input_shape):
        count = len(self.place_sizes)
        self.down, self.up = {}, {}
        for place in PROJECTIONS:
            taken, given = sizes(self.backbone)[place]
            normal = keras.initializers.RandomNormal(stddev=taken**-0.5)
            self.down[place] = self._add(f"{place}_down", (taken, self.rank), normal)
            self.up[place] = self._add(f"{place}_up", (self.rank, given), "zeros")
        self.policy = self.add_weight(
            name="policy", shape=(count,), initializer="zeros", dtype="float32"
        )
        fixed = {"initializer": "zeros", "trainable": False}
        self.chosen = self.add_weight(
            name="chosen", shape=(count,), dtype="float32", **fixed
        )
        self.step = self.add_weight(name="step", shape=(), dtype="int32", **fixed)
        self.seeds = keras.random.SeedGenerator()
        self.chosen.assign(self._choice())
        super().build(input_shape)

    def call(self, images, training=False):
        self._gates = self._train_policy() if training else None
        try:
            return super().call(images)
        finally:
            self._gates = None

    def delta(self, layer, place, x):
        gates = self.chosen.value if self._gates is None else self._gates
        gate = gates[layer * len(PROJECTIONS) + PROJECTIONS.index(place)]
        down, up = self.down[place].value[layer], self.up[place].value[layer]
        x = ops.matmul(x, ops.cast(down, x.dtype))
        return ops.matmul(x, ops.cast(gate * up, x.dtype))

    def num_learned(self):
        """The head and what is chosen; the policy is for training only."""
        chosen = ops.convert_to_numpy(self.chosen) > 0
        return int(self.place_sizes[chosen].sum()) + self.head.count_params()

    def _add(self, name, shape, initializer):
        return self.add_weight(
            name=name,
            shape=(self.backbone.num_layers, *shape),
            initializer=initializer,
            dtype="float32",
        )

    def _train_policy(self):
        """This training step's gates `(6 L,)`; counts it and adds the budget's loss."""
        logits = self.policy.value
        learning = self.step.value < self.policy_steps
        chosen = ops.where(learning, self._choice(), self.chosen.value)
        first, last = TEMPERATURES
        share = ops.cast(self.step.value, "float32") / max(self.policy_steps - 1, 1)
        temperature = first * (last / first) ** ops.minimum(share, 1.0)
        u = keras.random.uniform(logits.shape, 1e-6, 1.0 - 1e-6, seed=self.seeds)
        noise = ops.log(u) - ops.log1p(-u)
        soft = ops.sigmoid((logits + noise) / temperature)
        numbers = ops.convert_to_tensor(self.place_sizes, "float32")
        expected = ops.sum(numbers * ops.sigmoid(logits)) / self.budget
        over = ops.relu(expected - 1.0)
        self.add_loss(ops.where(learning, over, 0.0))
        self.chosen.assign(chosen)
        self.step.assign_add(1)
        return ops.where(learning, soft, chosen)

    def _choice(self):
        """1 for the places of the largest logits that the budget holds, (6 L,)."""
        order = ops.argsort(-self.policy.value)
        numbers = ops.convert_to_tensor(self.place_sizes, "int32")
        total = ops.cumsum(ops.take(numbers, order))
        kept = ops.cast(total <= self.budget, "float32")
        return ops.take(kept, ops.argsort(order))
