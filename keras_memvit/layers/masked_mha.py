"""Multi-head attention of the base stream and of the task stream."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_memvit.layers.adapted import adapted
from keras_memvit.layers.dot_product_attention import dot_product_attention
from keras_memvit.layers.drawn import drawn
from keras_memvit.layers.matmul import Dense
from keras_memvit.layers.reshape import reshape
from keras_memvit.layers.rotary import RotaryPositions
from keras_memvit.layers.task_attention import attend_groups
from keras_memvit.layers.task_attention import base_of_group
from keras_memvit.layers.task_attention import group_weights
from keras_memvit.layers.task_attention import of_group


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
        use_qkv_bias: bool, or three for query, key and value. Whether these
            projections have a bias. Defaults to `True`.
        use_output_bias: bool. Whether the output projection has a bias.
            Defaults to `True`.
        rotary_theta: optional float. Rotates queries and keys of the patches, the
            last of the base tokens, see `RotaryPositions`; class tokens and memory
            have no position.
        grid_shape: `(rows, columns)` of the patches, with `rotary_theta`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: base tokens of shape `(B, T, D)`, after the pre-attention norm.
        memory: optional memory of shape `(m, D)`, after the norm, that every
            token attends to (the paper's unmasked regime).

    Returns:
        A tensor of shape `(B, T, D)`: the base stream. The task stream, `(B, K, D)`,
        is what `attend_tasks` returns.

    Raises:
        ValueError: if there are more heads than the tokens are wide, or `rotary_theta`
            comes without `grid_shape`.

    Example:

    >>> attention = keras_memvit.layers.MaskedMHA(num_heads=6)
    >>> tuple(attention(keras.ops.ones((2, 50, 384))).shape)
    (2, 50, 384)

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), Table 1
    """

    def __init__(
        self,
        num_heads: int,
        use_qkv_bias: bool | Sequence[bool] = True,
        use_output_bias: bool = True,
        rotary_theta: float | None = None,
        grid_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if rotary_theta is not None and grid_shape is None:
            raise ValueError(
                "`rotary_theta` needs the `grid_shape` of the patches. "
                f"Received: rotary_theta={rotary_theta}, grid_shape=None"
            )
        self.num_heads = num_heads
        self.use_qkv_bias = use_qkv_bias
        self.use_output_bias = use_output_bias
        self.rotary_theta = rotary_theta
        self.grid_shape = grid_shape

    def build(self, x_shape, memory_shape=None):
        hidden_dim = x_shape[-1]
        if hidden_dim < self.num_heads:
            raise ValueError(
                "`num_heads` must not exceed the width of the tokens, "
                f"{hidden_dim}. Received: num_heads={self.num_heads}"
            )
        self.head_dim = hidden_dim // self.num_heads
        inner_dim = self.num_heads * self.head_dim

        def dense(name, inputs, units, use_bias):
            layer = Dense(
                units,
                use_bias=use_bias,
                kernel_initializer=drawn(),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, inputs))
            return layer

        biases = self.use_qkv_bias
        biases = biases if isinstance(biases, (list, tuple)) else (biases,) * 3
        self.query, self.key, self.value = (
            dense(name, hidden_dim, inner_dim, use_bias)
            for name, use_bias in zip(("query", "key", "value"), biases, strict=True)
        )
        self.output_projection = dense(
            "output_projection", inner_dim, hidden_dim, self.use_output_bias
        )
        self.rotary = None
        if self.rotary_theta is not None:
            self.rotary = RotaryPositions(
                self.grid_shape, self.head_dim, self.rotary_theta
            )

    def call(self, x, memory=None):
        key, value = self.base_key(x), self.split_heads(self.value(x))
        if memory is not None:
            key, value = map(_append, (key, value), self.project(memory))
        return self._attend(x, key, value)

    def project(self, x):
        """Keys and values of class tokens or memory: (..., D) -> (..., H, d) each."""
        return tuple(self.split_heads(layer(x)) for layer in (self.key, self.value))

    def base_key(self, x):
        """Keys of base tokens, with their positions: (B, T, D) -> (B, T, H, d)."""
        return self.rotate(self.split_heads(self.key(x)))

    def rotate(self, x):
        """Gives base tokens' queries or keys (B, T, H, d) rotary positions, if any."""
        return x if self.rotary is None else self.rotary(x)

    def attend(self, queries, x):
        """Queries `(B, Q, D)` over tokens `(B, T, D)`, no positions -> `(B, Q, D)`."""
        query = self.split_heads(self.query(queries))
        return self._merge(dot_product_attention(query, *self.project(x)))

    def read(self, queries, base):
        """Queries `(B, Q, D)` over a layer's `BaseStates`, alone -> `(B, Q, D)`."""
        scores = ops.cast(base.scores(self._task_query(queries)), "float32")
        weights = ops.cast(ops.softmax(scores, axis=-1), queries.dtype)
        return self._merge(base.mean(weights))

    def attend_base(self, base):
        """Every base token over all: `BaseStates` -> (B, T, D)."""
        return self._attend(base.normed, *base.project())

    def attend_tasks(
        self, class_tokens, base, memory, layout, adapters=None, gates=None
    ):
        """Each class token over its own keys: (B, K, D) -> (B, K, D).

        Args:
            class_tokens: `(B, K, D)`, after the norm.
            base: the layer's `BaseStates`.
            memory: keys and values of all tasks' memory in task order, each
                `(M, H, d)`.
            layout: the `TaskLayout` of the tasks.
            adapters: optional, the tasks' adapters in this layer, see `adapted`.
            gates: optional, which memory of others they read, see `attend_groups`.
        """
        query = self._task_query(class_tokens, adapters)
        own = self.project(class_tokens)
        found = attend_groups(query, own, base, memory, layout, adapters, gates)
        found = reshape(found, (-1, found.shape[1], self.num_heads * self.head_dim))
        return adapted(adapters, "output", self.output_projection(found), found)

    def task_weights(
        self, class_tokens, base, memory, layout, adapters=None, gates=None
    ):
        """What `attend_tasks` weighs how: for each group, see `group_weights`."""
        query = self._task_query(class_tokens, adapters)
        own_key, _ = self.project(class_tokens)
        return [
            group_weights(
                of_group(query, group),
                own_key,
                base_of_group(base, group, adapters),
                memory[0],
                group,
                layout,
                gate,
            )
            for group, gate in zip(layout.groups, gates or [None] * len(layout.groups))
        ]

    def _task_query(self, class_tokens, adapters=None):
        query = self.query(class_tokens)
        query = adapted(adapters, "query", query, class_tokens)
        return self.split_heads(query) / math.sqrt(self.head_dim)

    def _attend(self, x, key, value):
        query = self.rotate(self.split_heads(self.query(x)))
        return self._merge(dot_product_attention(query, key, value))

    def split_heads(self, x):
        """(..., H * d) -> (..., H, d)."""
        lead = (-1, x.shape[1]) if len(x.shape) == 3 else (x.shape[0],)
        return reshape(x, (*lead, self.num_heads, self.head_dim))

    def _merge(self, x):
        """(B, T, H, d) -> (B, T, D)."""
        inner_dim = self.num_heads * self.head_dim
        return self.output_projection(reshape(x, (-1, x.shape[1], inner_dim)))

    def compute_output_shape(self, x_shape, memory_shape=None):
        return x_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            num_heads=self.num_heads,
            use_qkv_bias=self.use_qkv_bias,
            use_output_bias=self.use_output_bias,
        )
        if self.rotary_theta is not None:
            config.update(rotary_theta=self.rotary_theta, grid_shape=self.grid_shape)
        return config


def _append(x, memory):
    """(B, T, H, d), (m, H, d) -> (B, T + m, H, d)."""
    memory = ops.repeat(ops.expand_dims(memory, 0), ops.shape(x)[0], axis=0)
    return ops.concatenate([x, memory], axis=1)
