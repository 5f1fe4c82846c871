"""All that one task owns: class token, memory in every layer, head."""

import keras
import numpy as np
from keras import ops

from keras_memvit.layers.dtypes import float32_variables
from keras_memvit.layers.memory_tokens import MemoryTokens

STDDEV = 0.02  # of memory (the paper's) and head
# Of queries: scores are of unit scale then and several start out apart, which is
# worth 0.7 to 2.5 points of accuracy over 0.02 (four queries, two data sets).
QUERY_STDDEV = 0.125


@keras.saving.register_keras_serializable(package="keras_memvit")
class TaskTokens(keras.layers.Layer):
    """The trainable parameters of one task.

    `(1 + L m) D` numbers for class token and memory, `(D + 1) C` for the head;
    with `q` query tokens a layer another `L q D` and `L q D C`. The variables
    are float32 whatever the encoder computes in.

    Args:
        num_layers: int. Number of encoder blocks `L`.
        hidden_dim: int. Width `D` of a token.
        num_memory_tokens: int. Memory tokens `m` per layer.
        num_classes: int. Number of classes `C`.
        num_query_tokens: int. Query tokens `q` per layer; 0 = the class token
            alone is read out. Defaults to `0`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        features: the class token behind the encoder's last norm, `(B, D)`.
        read: with query tokens, what they read in every layer, `(B, L q, D)`.

    Returns:
        float32 logits of shape `(B, C)`.
    """

    def __init__(
        self,
        num_layers,
        hidden_dim,
        num_memory_tokens,
        num_classes,
        num_query_tokens=0,
        **kwargs,
    ):
        kwargs["dtype"] = float32_variables(kwargs.get("dtype"))
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_memory_tokens = num_memory_tokens
        self.num_classes = num_classes
        self.num_query_tokens = num_query_tokens
        self.memory = [
            MemoryTokens(num_memory_tokens, dtype=self.dtype_policy, name=f"memory_{i}")
            for i in range(num_layers)
        ]
        self.head = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=STDDEV),
            dtype="float32",
            name="head",
        )

    def build(self, input_shape=None):
        self.class_token = self.add_weight(
            name="class_token",
            shape=(self.hidden_dim,),
            initializer=keras.initializers.RandomNormal(stddev=STDDEV),
        )
        for memory in self.memory:
            memory.build((None, None, self.hidden_dim))
        num_read = self.num_layers * self.num_query_tokens
        if num_read:
            self.queries = self.add_weight(
                name="queries",
                shape=(self.num_layers, self.num_query_tokens, self.hidden_dim),
                initializer=keras.initializers.RandomNormal(stddev=QUERY_STDDEV),
            )
        self.head.build((None, (1 + num_read) * self.hidden_dim))

    def start(self, seed):
        """Draws memory, queries and head anew, the same on every backend.

        Args:
            seed: int, of NumPy's generator.
        """
        rng = np.random.default_rng(seed)
        for variable in [*(m.memory for m in self.memory), self.head.kernel]:
            variable.assign(rng.normal(0.0, STDDEV, variable.shape))
        if self.num_query_tokens:
            shape = self.queries.shape
            self.queries.assign(rng.normal(0.0, QUERY_STDDEV, shape))

    @property
    def parameter_groups(self):
        """Variables by what they are: a dict of lists."""
        groups = {
            "class_token": [self.class_token],
            "memory": [memory.memory for memory in self.memory],
            "head": self.head.weights,
        }
        if self.num_query_tokens:
            groups["queries"] = [self.queries]
        return groups

    def call(self, features, read=None):
        if read is not None:
            features = join_readout(features, read)
        return self.head(features)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_layers=self.num_layers,
            hidden_dim=self.hidden_dim,
            num_memory_tokens=self.num_memory_tokens,
            num_classes=self.num_classes,
            num_query_tokens=self.num_query_tokens,
        )
        return config


def join_readout(features, read):
    """What a deep readout's head takes: the class token, then what was read.

    Args:
        features: class token, `(B, D)`.
        read: what each layer's query tokens read, `(B, L q, D)`; each row gets
            zero mean and unit variance, since layers differ in scale.

    Returns:
        float32 `(B, (1 + L q) D)`.
    """
    read = ops.cast(read, "float32")
    mean, variance = ops.moments(read, axes=-1, keepdims=True)
    read = (read - mean) * ops.rsqrt(variance + 1e-6)
    read = ops.reshape(read, (-1, read.shape[1] * read.shape[2]))
    return ops.concatenate([ops.cast(features, "float32"), read], axis=-1)
