"""Image to tokens: patches, class token, register tokens, positions."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_memvit.layers.drawn import drawn
from keras_memvit.layers.matmul import matmul


@keras.saving.register_keras_serializable(package="keras_memvit")
class PatchEmbedding(keras.layers.Layer):
    """`z_0 = [x_cls, r_1, ..., E x_1, ..., E x_N] + E_pos`.

    Register tokens (DINOv2) and the distillation token (DeiT) sit between the
    class token and the patches; a position they may have is part of them, so
    `E_pos` covers the class token and the patches.

    Args:
        image_shape: `(height, width, 3)`. What is left of it below and to the
            right of the last whole patch is not looked at.
        patch_size: int or `(height, width)`.
        hidden_dim: int. Width `D` of a token.
        use_class_token: bool. Defaults to `True`.
        num_register_tokens: int. Defaults to `0`.
        use_bias: bool. Whether the projection `E` has a bias.
        use_position_embedding: bool. Whether there is `E_pos`; rotary positions do
            without. Defaults to `True`.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        images: normalised images of shape `(B, H, W, 3)`.

    Returns:
        Tokens of shape `(B, T, D)`, `T = use_class_token + num_register_tokens + N`.

    Example:

    >>> embed = keras_memvit.layers.PatchEmbedding(
    ...     image_shape=(32, 48, 3), patch_size=16, hidden_dim=8)
    >>> tuple(embed(keras.ops.ones((2, 32, 48, 3))).shape)
    (2, 7, 8)

    Reference:
        - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929), eq. 1
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        patch_size: int | Sequence[int],
        hidden_dim: int,
        use_class_token: bool = True,
        num_register_tokens: int = 0,
        use_bias: bool = True,
        use_position_embedding: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.patch_size = (
            (patch_size,) * 2 if isinstance(patch_size, int) else tuple(patch_size)
        )
        self.hidden_dim = hidden_dim
        self.use_class_token = use_class_token
        self.num_register_tokens = num_register_tokens
        self.use_bias = use_bias
        self.use_position_embedding = use_position_embedding
        self.grid_shape = tuple(
            s // p for s, p in zip(self.image_shape, self.patch_size)
        )
        self.num_patches = math.prod(self.grid_shape)

    def build(self, input_shape):
        dim = self.hidden_dim
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.patch_size, self.image_shape[-1], dim),
            initializer=drawn(),
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros")

        def tokens(name, count):
            normal = drawn(keras.initializers.RandomNormal(stddev=0.02))
            return self.add_weight(name=name, shape=(count, dim), initializer=normal)

        if self.use_class_token:
            self.class_token = tokens("class_token", 1)
        if self.num_register_tokens:
            self.register_tokens = tokens("register_tokens", self.num_register_tokens)
        self.position_embedding = None
        if self.use_position_embedding:
            self.position_embedding = tokens(
                "position_embedding", self.num_patches + self.use_class_token
            )

    def call(self, images):
        require_images(images, self.image_shape)
        batch = ops.shape(images)[0]
        patches = self._project(images)
        if self.use_position_embedding:
            positions = self.position_embedding.value
            patches = patches + positions[int(self.use_class_token) :]
        tokens = [patches]
        if self.num_register_tokens:
            tokens.insert(0, self.register_tokens.value)
        if self.use_class_token:
            tokens.insert(0, self.add_class_position(self.class_token.value))
        tokens = [
            t if len(t.shape) == 3 else ops.repeat(t[None], batch, axis=0)
            for t in tokens
        ]
        return tokens[0] if len(tokens) == 1 else ops.concatenate(tokens, axis=1)

    def add_class_position(self, class_tokens):
        """Adds position 0, which new class tokens share: (K, D) -> (K, D)."""
        if not (self.use_class_token and self.use_position_embedding):
            return class_tokens
        position = ops.cast(self.position_embedding[:1], class_tokens.dtype)
        return class_tokens + position

    def _project(self, images):
        """(B, H, W, C) -> (B, N, D), a strided convolution as one matmul.

        The matmul takes 0.8 of the convolution's time on all three backends
        (CPU, patch 14 and 16).
        """
        (rows, columns), (height, width) = self.grid_shape, self.patch_size
        channels = self.image_shape[-1]
        if self.image_shape[:2] != (rows * height, columns * width):
            images = images[:, : rows * height, : columns * width]
        x = ops.reshape(images, (-1, rows, height, columns, width, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, rows * columns, height * width * channels))
        x = matmul(x, ops.reshape(self.kernel, (-1, self.hidden_dim)))
        return x + self.bias if self.use_bias else x

    def compute_output_shape(self, input_shape):
        num_tokens = self.use_class_token + self.num_register_tokens + self.num_patches
        return input_shape[0], num_tokens, self.hidden_dim

    def get_config(self):
        config = super().get_config()
        config.update(
            image_shape=self.image_shape,
            patch_size=self.patch_size,
            hidden_dim=self.hidden_dim,
            use_class_token=self.use_class_token,
            num_register_tokens=self.num_register_tokens,
            use_bias=self.use_bias,
            use_position_embedding=self.use_position_embedding,
        )
        return config


def require_images(images, image_shape):
    """Raises unless `images` are a batch of images of the shape `(H, W, C)`."""
    if tuple(images.shape[1:]) != tuple(image_shape):
        raise ValueError(
            f"`images` must have the shape {(None, *image_shape)} that the "
            "model was built for; for other sizes build it with another "
            f"`image_shape`. Received: images of shape {tuple(images.shape)}"
        )
