"""What the pretrained backbone came with behind its tokens."""

from typing import Any

import keras
from keras import ops

from keras_memvit.layers.attention_pooling import AttentionPooling

POOLINGS = ("token", "gap", "max")


@keras.saving.register_keras_serializable(package="keras_memvit")
class BaseClassifier(keras.layers.Layer):
    """Pooled tokens, an optional tanh layer, and a linear layer to logits.

    The linear layer is a classifier's, or the projection of CLIP's image tower to
    the space that it shares with the text tower.

    Args:
        num_classes: int. Width of what is returned.
        pooling: `"token"` (the class token), `"gap"` (mean over all tokens),
            `"max"`, or an `AttentionPooling`, SigLIP's.
        intermediate_dim: optional int. Width of a tanh layer before the logits.
        use_bias: bool. Whether the linear layer has a bias. Defaults to `True`.
        use_logits: bool. Whether there is the linear layer; without, the pooled
            tokens are returned, of the width `num_classes`. Defaults to `True`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        x: normed tokens of shape `(B, T, D)`.

    Returns:
        float32 logits of shape `(B, num_classes)`, before any activation.

    Raises:
        ValueError: if `pooling` is none of these, or `num_classes` is not the tokens'
            width where there is no linear layer.

    Example:

    >>> head = keras_memvit.layers.BaseClassifier(num_classes=10, pooling="gap")
    >>> tuple(head(keras.ops.ones((2, 50, 32))).shape)
    (2, 10)
    """

    def __init__(
        self,
        num_classes: int,
        pooling: str | AttentionPooling = "token",
        intermediate_dim: int | None = None,
        use_bias: bool = True,
        use_logits: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pooling not in POOLINGS and not isinstance(pooling, AttentionPooling):
            raise ValueError(
                f"`pooling` must be one of {POOLINGS} or an `AttentionPooling`. "
                f"Received: pooling={pooling!r}"
            )
        self.num_classes = num_classes
        self.pooling = pooling
        self.intermediate_dim = intermediate_dim
        self.use_bias = use_bias
        self.use_logits = use_logits

    def build(self, input_shape):
        width = input_shape[-1]
        if isinstance(self.pooling, AttentionPooling):
            self.pooling.trainable = self.trainable
            if not self.pooling.built:
                self.pooling.build(input_shape)
        if self.intermediate_dim:
            self.intermediate = self._dense(
                "intermediate", width, self.intermediate_dim, activation="tanh"
            )
            width = self.intermediate_dim
        if self.use_logits:
            self.logits = self._dense(
                "logits", width, self.num_classes, use_bias=self.use_bias
            )
        elif width != self.num_classes:
            raise ValueError(
                f"`num_classes` must be the tokens' width {width} without a linear "
                f"layer. Received: num_classes={self.num_classes}, use_logits=False"
            )

    def _dense(self, name, inputs, units, **kwargs):
        layer = keras.layers.Dense(
            units,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=name,
            **kwargs,
        )
        layer.build((None, inputs))
        return layer

    def call(self, x):
        if isinstance(self.pooling, AttentionPooling):
            x = self.pooling(x)
        elif self.pooling == "token":
            x = x[:, 0]
        else:
            x = (ops.mean if self.pooling == "gap" else ops.max)(x, axis=1)
        if self.intermediate_dim:
            x = self.intermediate(x)
        return ops.cast(self.logits(x) if self.use_logits else x, "float32")

    @property
    def first_class_token(self):
        """What a class token starts from where the backbone has none: (D,), or None."""
        if isinstance(self.pooling, AttentionPooling) and self.built:
            return ops.convert_to_numpy(self.pooling.probe)[0]
        return None

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.num_classes

    def get_config(self):
        config = super().get_config()
        pooling = self.pooling
        if isinstance(pooling, AttentionPooling):
            pooling = keras.saving.serialize_keras_object(pooling)
        config.update(
            num_classes=self.num_classes,
            pooling=pooling,
            intermediate_dim=self.intermediate_dim,
            use_bias=self.use_bias,
            use_logits=self.use_logits,
        )
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config["pooling"], dict):
            config["pooling"] = keras.saving.deserialize_keras_object(config["pooling"])
        return cls(**config)
