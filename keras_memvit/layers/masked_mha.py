"""Multi-head attention of the base stream and of the task stream."""

import math

import keras
from keras import ops

from keras_memvit.layers.base_readers import BaseStates
from keras_memvit.layers.dot_product_attention import dot_product_attention


@keras.saving.register_keras_serializable(package="keras_memvit")
class MaskedMHA(keras.layers.Layer):
    """Multi-head attention in which nothing old can see anything new.

    The mask of the paper's Table 1 holds by construction, because old and new
    tokens live in separate tensors that share one set of projections:

    - base tokens `x` attend to themselves: `softmax(Q Kᵀ / sqrt(d)) V`;
    - the class token `c_k` of task `k` attends to the base tokens, to itself,
      to its memory and to the class tokens and memory of the tasks it sees,
      `softmax(q_k [K; k_k; K_mem; K_seen]ᵀ / sqrt(d)) [V; v_k; V_mem; V_seen]`.

    Args:
        num_heads: int. Number of attention heads `H`; head width is
            `d = D // H`.
        use_qkv_bias: bool. Whether query, key and value projections have a
            bias. Defaults to `True`.
        use_output_bias: bool. Whether the output projection has a bias.
            Defaults to `True`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: base tokens of shape `(B, T, D)`, behind the pre-attention norm.
        class_tokens: optional class tokens of shape `(B, K, D)`, behind the norm.
        memory: optional memory of shape `(M, D)`, behind the norm. With class
            tokens it is all tasks' memory in task order, read by the class
            tokens that `layout` says; without, every token reads it (the
            paper's unmasked regime).
        layout: the `TaskLayout` of the tasks; required with class tokens.
        base_output: bool. `False` spares the base tokens' own attention when
            only their keys and values are needed.
        queries: optional learned queries of shape `(R, D)`, which read the base
            tokens' values of this layer (see `TaskSpec(readout="deep")`).

    Returns:
        A tensor of shape `(B, T, D)`; with class tokens a tuple of it (or
        None) and a tensor of shape `(B, K, D)`; with queries a third of shape
        `(B, R, D)`.

    Example:

    >>> attention = keras_memvit.layers.MaskedMHA(num_heads=6)
    >>> tuple(attention(keras.ops.ones((2, 50, 384))).shape)
    (2, 50, 384)

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), Table 1
    """

    def __init__(self, num_heads, use_qkv_bias=True, use_output_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.use_qkv_bias = use_qkv_bias
        self.use_output_bias = use_output_bias

    def build(self, x_shape, class_tokens_shape=None, memory_shape=None):
        hidden_dim = x_shape[-1]
        if hidden_dim < self.num_heads:
            raise ValueError(
                "`num_heads` must not exceed the width of the tokens, "
                f"{hidden_dim}. Received: num_heads={self.num_heads}"
            )
        self.head_dim = hidden_dim // self.num_heads
        inner_dim = self.num_heads * self.head_dim

        def dense(name, inputs, units, use_bias):
            layer = keras.layers.Dense(
                units, use_bias=use_bias, dtype=self.dtype_policy, name=name
            )
            layer.build((None, inputs))
            return layer

        self.query = dense("query", hidden_dim, inner_dim, self.use_qkv_bias)
        self.key = dense("key", hidden_dim, inner_dim, self.use_qkv_bias)
        self.value = dense("value", hidden_dim, inner_dim, self.use_qkv_bias)
        self.output_projection = dense(
            "output_projection", inner_dim, hidden_dim, self.use_output_bias
        )

    def call(
        self,
        x,
        class_tokens=None,
        memory=None,
        layout=None,
        base_output=True,
        queries=None,
    ):
        if memory is not None:
            memory = self.project(memory)
        base = BaseStates(self, x)
        if class_tokens is None:
            return self.attend_base(base, memory)
        tasks, *read = self.attend_new(class_tokens, base, memory, layout, queries)
        return self.attend_base(base) if base_output else None, tasks, *read

    def attend_new(self, class_tokens, base, memory, layout, queries=None):
        """All that reads the base tokens: class tokens, and queries if there are any.

        Args:
            class_tokens, memory, layout: see `attend_tasks`.
            base: the layer's `BaseStates`.
            queries: optional `(R, D)`, see `read`.

        Returns:
            A list: class tokens `(B, K, D)` and, with queries, `(B, R, D)`.
        """
        count = class_tokens.shape[1] + (0 if queries is None else queries.shape[0])
        reader = base.reader(count)  # one for both: a gradient keeps one form alive
        new = [self.attend_tasks(class_tokens, reader, memory, layout)]
        return new if queries is None else [*new, self.read(queries, reader)]

    def project(self, x):
        """Keys and values: (..., D) -> (..., H, d) each."""
        return tuple(self._heads(layer(x)) for layer in (self.key, self.value))

    def attend_base(self, base, memory=None):
        """Every base token over all, and over memory: `BaseStates` -> (B, T, D)."""
        key, value = base.project()
        if memory is not None:
            key, value = map(_append, (key, value), memory)
        query = self._heads(self.query(base.x))
        return self._merge(dot_product_attention(query, key, value))

    def attend_tasks(self, class_tokens, reader, memory, layout):
        """Each class token over its own keys: (B, K, D) -> (B, K, D).

        Args:
            class_tokens: `(B, K, D)`, behind the norm.
            reader: the base tokens, of `BaseStates.reader`.
            memory: keys and values of all memory, each `(M, H, d)`.
            layout: the `TaskLayout`.
        """
        query = self._heads(self.query(class_tokens)) / math.sqrt(self.head_dim)
        own = self.project(class_tokens)
        if len(layout.groups) == 1:
            return self._merge(
                _attend_group(query, own, reader, memory, layout.groups[0])
            )
        outputs = []
        for group in layout.groups:
            group_query = ops.take(query, group.tasks, axis=1)
            outputs.append(_attend_group(group_query, own, reader, memory, group))
        outputs = ops.take(ops.concatenate(outputs, axis=1), layout.inverse, axis=1)
        return self._merge(outputs)

    def task_weights(self, class_tokens, base, memory, layout):
        """What `attend_tasks` weighs how: for each group, see `group_weights`."""
        reader = base.reader(class_tokens.shape[1])
        query = self._heads(self.query(class_tokens)) / math.sqrt(self.head_dim)
        own_key, _ = self.project(class_tokens)
        return [
            group_weights(_of_group(query, group), own_key, reader, memory[0], group)
            for group in layout.groups
        ]

    def read(self, queries, reader):
        """Learned queries over the base tokens alone: (R, D) -> (B, R, D).

        `softmax(Q Kᵀ) V` by head, without the output projection. The queries are
        parameters themselves: without `1 / sqrt(d)` a step of the optimiser moves
        their scores that much further, which they need beside a head.
        """
        query = self._heads(queries)  # (R, H, d)
        scores = ops.cast(reader.shared_scores(query), "float32")
        weights = ops.cast(ops.softmax(scores, axis=-1), query.dtype)
        values = reader.mean(weights)  # (B, R, H, d)
        return ops.reshape(values, (-1, queries.shape[0], queries.shape[1]))

    def _heads(self, x):
        """(..., H * d) -> (..., H, d)."""
        return ops.reshape(x, (*_lead(x), self.num_heads, self.head_dim))

    def _merge(self, x):
        """(..., H, d) -> (..., D)."""
        inner_dim = self.num_heads * self.head_dim
        return self.output_projection(ops.reshape(x, (-1, x.shape[1], inner_dim)))

    def compute_output_shape(self, x_shape, class_tokens_shape=None, memory_shape=None):
        if class_tokens_shape is None:
            return x_shape
        return x_shape, class_tokens_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            num_heads=self.num_heads,
            use_qkv_bias=self.use_qkv_bias,
            use_output_bias=self.use_output_bias,
        )
        return config


def _lead(x):
    """The leading dimensions, with -1 for the batch: (-1, T) or (M,)."""
    return (-1, x.shape[1]) if len(x.shape) == 3 else (x.shape[0],)


def _append(x, memory):
    """(B, T, H, d), (m, H, d) -> (B, T + m, H, d)."""
    memory = ops.repeat(ops.expand_dims(memory, 0), ops.shape(x)[0], axis=0)
    return ops.concatenate([x, memory], axis=1)


def _attend_group(query, own, base, memory, group):
    """One softmax for each class token over just the keys it may attend to.

    Args:
        query: scaled queries of the group's tasks, `(B, G, H, d)`.
        own: keys and values of all class tokens, each `(B, K, H, d)`.
        base: the base tokens, `ProjectedTokens` or `UnprojectedTokens`.
        memory: keys and values of all memory, each `(M, H, d)`.
        group: a `TaskGroup`.

    Returns:
        `(B, G, H, d)`.
    """
    to_base, to_own, to_memory, *to_seen = group_weights(
        query, own[0], base, memory[0], group
    )
    output = base.mean(to_base)
    output += ops.transpose(to_own, (0, 2, 1, 3)) * _of_group(own[1], group)
    memory_value = ops.take(memory[1], group.memory, axis=0)
    output += ops.einsum("bhgm,gmhd->bghd", to_memory, memory_value)
    if to_seen:
        seen_value = ops.take(own[1], group.seen, axis=1)
        output += ops.einsum("bhgs,bgshd->bghd", to_seen[0], seen_value)
    return output


def group_weights(query, own_key, base, memory_key, group):
    """The softmax itself: a group's attention weights, by what they weigh.

    Args: as for the group's attention, keys only.

    Returns:
        A list of `(B, H, G, n)`: to the base tokens, to itself, to its memory
        and, where there are any, to the class tokens it sees.
    """
    own = _of_group(own_key, group)
    memory_key = ops.take(memory_key, group.memory, axis=0)
    scores = [
        base.scores(query),
        ops.transpose(ops.sum(query * own, axis=-1, keepdims=True), (0, 2, 1, 3)),
        _add(ops.einsum("bghd,gmhd->bhgm", query, memory_key), group.memory_bias),
    ]
    if group.seen.shape[1]:
        seen_key = ops.take(own_key, group.seen, axis=1)
        scores.append(
            _add(ops.einsum("bghd,bgshd->bhgs", query, seen_key), group.seen_bias)
        )
    sizes = [s.shape[-1] for s in scores]
    scores = ops.cast(ops.concatenate(scores, axis=-1), "float32")
    weights = ops.cast(ops.softmax(scores, axis=-1), query.dtype)
    splits = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return ops.split(weights, splits, axis=-1)


def _of_group(x, group):
    """Rows of the group's tasks: (B, K, ...) -> (B, G, ...)."""
    return x if group.tasks is None else ops.take(x, group.tasks, axis=1)


def _add(scores, bias):
    """Adds -inf to the scores of padding: (B, H, G, S) + (G, S)."""
    return scores if bias is None else scores + ops.cast(bias, scores.dtype)
