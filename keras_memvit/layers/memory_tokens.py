"""One task's memory."""

from typing import Any

import keras
from keras import ops

from keras_memvit.layers.former_files import former_memory
from keras_memvit.tasks.counts import as_count


@keras.saving.register_keras_serializable(package="keras_memvit")
class MemoryTokens(keras.layers.Layer):
    """Learnable memory, appended to the tokens that enter an encoder layer.

    `z_l^mem = [y_(l-1); E_mem^l]` with `E_mem^l` of shape `(m, D)`, drawn from
    N(0, 0.02). Memory is a key and a value; it never queries and does not reach
    the next layer.

    Args:
        num_memory_tokens: int. Memory tokens `m`, at least 1.
        num_layers: optional int `L`. Holds the memory of all of an encoder's layers
            in one weight, `(L, m, D)`; without it one layer's, `(m, D)`.
        initializer: initialiser of the memory. Defaults to a normal
            distribution with standard deviation 0.02.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: tokens of shape `(B, T, D)`.
        layer: int. Which layer's memory, with `num_layers`.

    Returns:
        A tensor of shape `(B, T + m, D)`.

    Raises:
        ValueError: if `num_memory_tokens` or `num_layers` is less than 1, or `layer`
            is missing or too much.

    Example:

    >>> tokens = keras.ops.ones((2, 50, 384))
    >>> tuple(keras_memvit.layers.MemoryTokens(5)(tokens).shape)
    (2, 55, 384)

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), section 3.1
          and figure 2
    """

    def __init__(
        self,
        num_memory_tokens: int,
        num_layers: int | None = None,
        initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_memory_tokens = as_count(num_memory_tokens, "`num_memory_tokens`")
        if num_layers is not None:
            num_layers = as_count(num_layers, "`num_layers`")
        self.num_layers = num_layers
        self.initializer = keras.initializers.get(
            initializer or keras.initializers.RandomNormal(stddev=0.02)
        )

    def build(self, input_shape):
        layers = () if self.num_layers is None else (self.num_layers,)
        self.memory = self.add_weight(
            name="memory",
            shape=(*layers, self.num_memory_tokens, input_shape[-1]),
            initializer=self.initializer,
            autocast=False,  # cast to the tokens' type where it is used
        )

    def call(self, inputs, layer=None):
        if (layer is None) != (self.num_layers is None):
            raise ValueError(
                "`layer` must say which layer's memory is meant where there is "
                "`num_layers`, and only there. "
                f"Received: layer={layer}, num_layers={self.num_layers}"
            )
        memory = self.memory.value if layer is None else self.memory.value[layer]
        memory = ops.repeat(ops.expand_dims(memory, 0), ops.shape(inputs)[0], axis=0)
        return ops.concatenate([inputs, ops.cast(memory, inputs.dtype)], axis=1)

    def compute_output_shape(self, input_shape):
        batch, length, dim = input_shape
        return batch, None if length is None else length + self.num_memory_tokens, dim

    def load_own_variables(self, store):
        # Another task's, where a file has tasks in another order: see `TaskWeights`.
        target = vars(self).pop("load_into", self)
        super(MemoryTokens, target).load_own_variables(former_memory(store) or store)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_memory_tokens=self.num_memory_tokens,
            num_layers=self.num_layers,
            initializer=keras.initializers.serialize(self.initializer),
        )
        return config
