"""One layer's base tokens as attention sees them, computed when asked for."""

import keras
from keras import ops

from keras_memvit.layers.adapted import per_example
from keras_memvit.layers.reshape import reshape


class BaseStates:
    """What one encoder layer holds of the base tokens, for all that attends to them.

    Keys, values and the layer's output are computed at first use, or never: a few
    queries attend to the tokens as they are, and the last layer's output is
    wanted for the base output alone.

    Args:
        block: the layer's `EncoderBlock`.
        normed: base tokens after the block's first norm, `(B, T, D)`.
        x: optional base tokens that entered the block, `(B, T, D)`; without
            them, as of a store, there is no `output`.
        key, value: optional keys and values, `(B, T, H, d)` each, where they are
            known already.
        num_queries: int. How many queries are going to attend to the tokens in
            all; decides how. `0` = the keys are needed in any case.
    """

    def __init__(self, block, normed, *, x=None, key=None, value=None, num_queries=0):
        self.block = block
        self.attention = block.attention
        self.normed = normed
        self.x = x
        self.key = key
        self.value = value
        self._output = None
        # With few queries, projecting them back takes less memory than the base keys
        # and values do for the gradient; of a store, where nobody else makes these,
        # also less time than making them. One form for all: both would stay alive.
        heads, (tokens, width) = self.attention.num_heads, normed.shape[1:]
        few = 2 * num_queries * heads <= tokens
        if x is None:
            few |= 2 * num_queries * (width + heads * tokens) <= tokens * width
        # Of a quantised projection both forms differ by more than rounding: one then,
        # however many tasks there are.
        whole = getattr(block.attention.key, "quantization_mode", None) is None
        self.projects_queries_back = bool(num_queries) and few and whole

    def project(self):
        """Keys and values of the base tokens, each `(B, T, H, d)`."""
        if self.value is None:
            self.value = self.attention.split_heads(self.attention.value(self.normed))
        return self._key(), self.value

    def _key(self):
        if self.key is None:
            self.key = self.attention.base_key(self.normed)
        return self.key

    def output(self):
        """The base tokens after this block, `(B, T, D)`."""
        if self._output is None:
            attended = self.attention.attend_base(self)
            self._output = self.block.advance(self.x, attended)
        return self._output

    def scores(self, query):
        """Queries `(B, G, H, d)`, or for all examples `(R, H, d)` -> `(B, H, G, T)`."""
        shared = len(query.shape) == 3
        # A rotation differs from token to token, so it does not go into the query.
        if self.projects_queries_back and self.attention.rotary is None:
            return self._shared_back(query) if shared else self._back(query)
        equation = "rhd,bthd->bhrt" if shared else "bghd,bthd->bhgt"
        return ops.einsum(equation, query, self._key())

    def mean(self, weights, tokens=None):
        """Weighted means of the values: `(B, H, G, T)` -> `(B, G, H, d)`.

        Args:
            weights: as above.
            tokens: the same means of the tokens, `(B, H, G, D)`, where known.
        """
        if self.projects_queries_back:
            return self._mean_projected(weights, tokens)
        return ops.einsum("bhgt,bthd->bghd", weights, self.project()[1])

    # `q (x W_k + b)ᵀ = (q W_kᵀ) xᵀ + q bᵀ` and `w (x W_v + b) = (w x) W_v + w 1 b`: a
    # gradient keeps `x` alone alive, half of what keys and values would take.

    def _back(self, query):
        back = ops.einsum("bghd,Dhd->bhgD", query, self._kernel("key"))
        scores = per_example(back, ops.transpose(self.normed, (0, 2, 1)))
        if self.attention.key.use_bias:
            bias = ops.einsum("bghd,hd->bhg", query, self._bias("key"))
            scores += ops.expand_dims(bias, -1)
        return scores

    def _shared_back(self, query):
        tokens, width = self.normed.shape[1:]
        back = ops.einsum("rhd,Dhd->hrD", query, self._kernel("key"))
        flat = ops.matmul(self.normed, ops.transpose(reshape(back, (-1, width))))
        flat = reshape(flat, (-1, tokens, *back.shape[:2]))  # (B, T, H, R)
        scores = ops.transpose(flat, (0, 2, 3, 1))
        if self.attention.key.use_bias:
            bias = ops.einsum("rhd,hd->hr", query, self._bias("key"))
            scores += ops.expand_dims(bias, -1)
        return scores

    def _mean_projected(self, weights, tokens=None):
        mean = per_example(weights, self.normed) if tokens is None else tokens
        mean = ops.einsum("bhgD,Dhd->bghd", mean, self._kernel("value"))
        if self.attention.value.use_bias:
            total = ops.transpose(ops.sum(weights, -1, keepdims=True), (0, 2, 1, 3))
            mean += total * self._bias("value")
        return mean

    def _kernel(self, projection):
        """The projection's kernel by head, `(D, H, d)`."""
        attention = self.attention
        kernel = getattr(attention, projection).kernel
        kernel = ops.cast(kernel, self.normed.dtype)
        return reshape(kernel, (-1, attention.num_heads, attention.head_dim))

    def _bias(self, projection):
        attention = self.attention
        bias = getattr(attention, projection).bias
        bias = ops.cast(bias, self.normed.dtype)
        return reshape(bias, (attention.num_heads, attention.head_dim))


def as_floats(states):
    """Stored states as floats: bfloat16 comes as its bits, which NumPy knows.

    int8 comes with the bytes of a token's float32 scale behind its numbers.
    """
    dtype = keras.backend.standardize_dtype(states.dtype)
    if dtype == "int8":
        scale = ops.view(states[..., -4:], "float32")  # (..., 1)
        return ops.cast(states[..., :-4], "float32") * scale
    if dtype in ("int16", "uint16"):
        return ops.view(states, "bfloat16")
    if "float" not in dtype:
        raise ValueError(
            "`states` must be floats, the bits of bfloat16 as int16 or uint16, or int8 "
            "with scales. "
            f"Received: states of dtype {dtype}"
        )
    return states
