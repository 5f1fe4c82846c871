"""Image embeddings against those of class names: CLIP's zero-shot classifier."""

from typing import Any

import keras
from keras import ops

from keras_memvit.layers.base_classifier import BaseClassifier


@keras.saving.register_keras_serializable(package="keras_memvit")
class TextClassifier(keras.layers.Layer):
    """`z W / |z| + b` with `z` the image embedding, `W` scaled class embeddings.

    Made by `keras_memvit.text_head`.

    Args:
        num_classes: int.
        embedding: the `BaseClassifier` that gives image embeddings `(B, E)`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: normed tokens of shape `(B, T, D)`.

    Returns:
        float32 logits of shape `(B, num_classes)`.

    Raises:
        ValueError: if `embedding` is no `BaseClassifier`.

    Example:

    >>> embedding = keras_memvit.layers.BaseClassifier(num_classes=16, use_bias=False)
    >>> head = keras_memvit.layers.TextClassifier(num_classes=3, embedding=embedding)
    >>> tuple(head(keras.ops.ones((2, 50, 32))).shape)
    (2, 3)

    Reference:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 1
    """

    def __init__(
        self,
        num_classes: int,
        embedding: BaseClassifier,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(embedding, BaseClassifier):
            raise ValueError(
                "`embedding` must be a `BaseClassifier`. "
                f"Received: embedding={embedding!r}"
            )
        self.num_classes = num_classes
        self.embedding = embedding

    def build(self, input_shape):
        if not self.embedding.built:
            self.embedding.build(input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.embedding.num_classes, self.num_classes),
            dtype="float32",
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(), initializer="zeros", dtype="float32", autocast=False
        )
        self.trainable = self.trainable  # of what was made just now, too

    def call(self, x):
        z = self.embedding(x)  # (B, E), float32
        z = z * ops.rsqrt(ops.sum(z * z, axis=-1, keepdims=True))
        return ops.matmul(z, self.kernel.value) + self.bias.value

    @property
    def first_class_token(self):
        """As the embedding's, see `BaseClassifier`."""
        return self.embedding.first_class_token

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.num_classes

    def get_config(self):
        config = super().get_config()
        embedding = keras.saving.serialize_keras_object(self.embedding)
        return {**config, "num_classes": self.num_classes, "embedding": embedding}

    @classmethod
    def from_config(cls, config):
        embedding = keras.saving.deserialize_keras_object(config["embedding"])
        return cls(**{**config, "embedding": embedding})
