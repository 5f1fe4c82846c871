"""Learned queries over every layer's frozen values."""

import dataclasses

from keras import ops

from keras_memvit.layers.layer_norm import normalised
from keras_memvit.layers.reshape import reshape
from keras_memvit.readouts.readout import Parameter
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import register
from keras_memvit.readouts.readout import require_count

# Scores are of unit scale then and several queries start out apart, which is worth
# 0.7 to 2.5 points of accuracy over 0.02 (four queries, two data sets).
QUERY_STDDEV = 0.125


@register
@dataclasses.dataclass(frozen=True)
class Deep(Readout):
    """What learned queries find in each layer's frozen values.

    With `q` learned queries `Q_l` a layer and the frozen keys and values `K_l`, `V_l`
    of the base tokens, by head,

        h_l = softmax(Q_l K_lᵀ) V_l      (q, D)

    without `1 / sqrt(d)`: the queries are parameters themselves, and a step of the
    optimiser moves their scores that much further, which they need beside a head.
    The head takes `[class token; h_1; ...; h_L]`, each row of `h` with zero mean and
    unit variance, since layers differ in scale.

    `L q D` numbers a task, and `L q D C` more in its head.

    Args:
        num_query_tokens: int. Queries `q` a layer. Defaults to `1`.

    Raises:
        ValueError: if `num_query_tokens` is no integer of at least 1.

    Example:

    >>> task = keras_memvit.TaskSpec(
    ...     "digits", 10, readout=keras_memvit.readouts.Deep(num_query_tokens=4))

    Reference:
        - [Tu et al., 2022](https://arxiv.org/abs/2212.03220), visual query tuning
    """

    name = "deep"
    parts_are_features = True
    num_query_tokens: int = 1

    def __post_init__(self):
        require_count(self, "num_query_tokens")

    @property
    def num_queries(self):
        return self.num_query_tokens

    def parameters(self, spec, backbone):
        shape = (backbone.num_layers, self.num_query_tokens, backbone.hidden_dim)
        return {"queries": Parameter(shape, QUERY_STDDEV, "queries", parts=2)}

    def num_features(self, backbone):
        return backbone.num_layers * self.num_query_tokens * backbone.hidden_dim

    def start(self, tasks, backbone, batch):
        queries = [task.weights["queries"] for task in tasks]
        queries = queries[0] if len(tasks) == 1 else ops.concatenate(queries, axis=1)
        queries = ops.cast(queries, backbone.tokens_dtype)  # (L, R, D)
        return ops.unstack(queries, axis=0), ()

    def step(self, tasks, layer, block, base, state):
        queries, found = state
        query = block.attention.split_heads(queries[layer])  # (R, H, d)
        scores = ops.cast(base.scores(query), "float32")  # (B, H, R, T)
        weights = ops.cast(ops.softmax(scores, axis=-1), query.dtype)
        values = base.mean(weights)  # (B, R, H, d)
        values = reshape(values, (-1, *queries[layer].shape))  # (B, R, D)
        return queries, (*found, values)

    def features(self, tasks, backbone, state):
        found = state[1]
        count = self.num_query_tokens
        features = []
        for k in range(len(tasks)):
            rows = slice(k * count, (k + 1) * count)
            own = ops.concatenate([layer[:, rows] for layer in found], axis=1)
            features.append(_standardised(own))
        return features


def _standardised(rows):
    """(B, n, D) -> float32 (B, n D), each row with zero mean and unit variance."""
    rows = normalised(ops.cast(rows, "float32"))
    return reshape(rows, (-1, rows.shape[1] * rows.shape[2]))
