"""One task's memory for one encoder layer."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_memvit")
class MemoryTokens(keras.layers.Layer):
    """Learnable memory, appended to the tokens that enter an encoder layer.

    `z_l^mem = [y_(l-1); E_mem^l]` with `E_mem^l` of shape `(m, D)`, drawn from
    N(0, 0.02). Memory is read by the layer's keys and values; it never
    queries and does not reach the next layer.

    Args:
        num_memory_tokens: int. Memory tokens `m`, at least 1.
        initializer: initialiser of the memory. Defaults to a normal
            distribution with standard deviation 0.02.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: tokens of shape `(B, T, D)`.

    Returns:
        A tensor of shape `(B, T + m, D)`.

    Raises:
        ValueError: if `num_memory_tokens` is less than 1.

    Example:

    >>> tokens = keras.ops.ones((2, 50, 384))
    >>> tuple(keras_memvit.layers.MemoryTokens(5)(tokens).shape)
    (2, 55, 384)

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), section 3.1
          and figure 2
    """

    def __init__(self, num_memory_tokens, initializer=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(num_memory_tokens, int) or num_memory_tokens < 1:
            raise ValueError(
                "`num_memory_tokens` must be an integer of at least 1. "
                f"Received: num_memory_tokens={num_memory_tokens!r}"
            )
        self.num_memory_tokens = num_memory_tokens
        self.initializer = keras.initializers.get(
            initializer or keras.initializers.RandomNormal(stddev=0.02)
        )

    def build(self, input_shape):
        self.memory = self.add_weight(
            name="memory",
            shape=(self.num_memory_tokens, input_shape[-1]),
            initializer=self.initializer,
        )

    def call(self, inputs):
        memory = ops.expand_dims(self.memory.value, 0)  # (1, m, D)
        memory = ops.repeat(memory, ops.shape(inputs)[0], axis=0)
        return ops.concatenate([inputs, ops.cast(memory, inputs.dtype)], axis=1)

    def compute_output_shape(self, input_shape):
        batch, length, dim = input_shape
        return batch, None if length is None else length + self.num_memory_tokens, dim

    def get_config(self):
        config = super().get_config()
        config.update(
            num_memory_tokens=self.num_memory_tokens,
            initializer=keras.initializers.serialize(self.initializer),
        )
        return config
