"""The canonical Vision Transformer encoder that every family converts into."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_memvit.backbones.architecture import architecture
from keras_memvit.backbones.architecture import copy_weights
from keras_memvit.backbones.compact import check_quantization
from keras_memvit.backbones.compact import quantize_blocks
from keras_memvit.backbones.fingerprint import RememberedFingerprint
from keras_memvit.backbones.image_shape import check_image_shape
from keras_memvit.backbones.not_quantized import NotQuantized
from keras_memvit.backbones.saves_whole import SavesWhole
from keras_memvit.layers import EncoderBlock
from keras_memvit.layers import ImageNormalization
from keras_memvit.layers import PatchEmbedding
from keras_memvit.layers.base_states import BaseStates
from keras_memvit.layers.base_states import as_floats
from keras_memvit.layers.drawn import weights_are_copied
from keras_memvit.tasks.resizing import DEFAULT
from keras_memvit.tasks.resizing import check_resizing


@keras.saving.register_keras_serializable(package="keras_memvit")
class ViTBackbone(NotQuantized, SavesWhole, keras.Model):
    """A frozen pre-LN Vision Transformer that runs on every Keras backend.

    `z_0 = embed(x)`, `z_l = block_l(z_(l-1))`, output `norm(z_L)`. What the
    families (ViT, DeiT, DINO, CLIP, SigLIP) differ in is configuration. It only runs in
    inference mode; its weights are not trainable, so models can share one backbone.

    Args:
        image_shape: `(height, width, 3)`, multiples of the patch size.
        patch_size: int or `(height, width)`.
        num_layers: int. Number of encoder blocks `L`.
        num_heads: int. Attention heads per block.
        hidden_dim: int. Width `D` of a token.
        mlp_dim: int. Width of the MLP's hidden layer.
        activation: str. `"gelu"` (exact), `"gelu_tanh"`, `"quick_gelu"`,
            `"relu"`, or `"swiglu"`, `"geglu"` for a gated MLP. Defaults to `"gelu"`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        use_class_token: bool. Defaults to `True`.
        num_register_tokens: int. Further tokens after the class token:
            DINOv2's registers, DeiT's distillation token. Defaults to `0`.
        use_qkv_bias, use_output_bias, use_mlp_bias, use_patch_bias: bool.
            Whether these projections have a bias; `use_qkv_bias` may be three, of
            query, key and value. Default to `True`.
        use_layer_scale: bool. Whether a vector scales each residual branch,
            as in DINOv2. Defaults to `False`.
        use_pre_norm: bool. Whether a norm precedes the first block, as in
            CLIP. Defaults to `False`.
        use_final_norm: bool. Whether a norm follows the last block. Defaults to `True`.
        use_position_embedding: bool. Whether a table of positions is added to class
            token and patches. Defaults to `True`.
        rotary_theta: optional float. The base of rotary positions of the patches, as
            in DINOv3, see `RotaryPositions`. Defaults to `None`, none.
        crop_to_patches: bool. Whether the image may have a part, below and to the
            right, that fills no patch and is not looked at, as SigLIP's 384 px in
            patches of 14. Defaults to `False`.
        image_mean, image_std: float or 3 floats, on the [0, 1] scale.
            Default to `0.5`.
        dtype: optional dtype policy, such as `"mixed_bfloat16"`.
        quantization: None or `"int8"`: of the blocks' linear layers, see `build`.
        resizing: str. How the preset resized images, which `recipes.learn` does too,
            see `data.load`; what the backbone computes is the same. Defaults to
            `"bilinear"`.
        source_fingerprint: optional str. The fingerprint of the backbone that this one
            is a rounded or quantised replica of.
        **kwargs: `name`.

    Call arguments:
        images: images of shape `(B, H, W, 3)` in [0, 255], uint8 or float.

    Returns:
        Tokens of shape `(B, T, D)`: class token, register tokens, patches.

    Raises:
        ValueError: if the patch size does not divide the image.

    Example:

    >>> backbone = keras_memvit.ViTBackbone(
    ...     image_shape=(32, 48, 3), patch_size=16, num_layers=2,
    ...     num_heads=2, hidden_dim=32, mlp_dim=64)
    >>> tuple(backbone(keras.ops.zeros((1, 32, 48, 3))).shape)
    (1, 7, 32)

    Reference:
        - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        patch_size: int | Sequence[int],
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-6,
        use_class_token: bool = True,
        num_register_tokens: int = 0,
        use_qkv_bias: bool | Sequence[bool] = True,
        use_output_bias: bool = True,
        use_mlp_bias: bool = True,
        use_patch_bias: bool = True,
        use_layer_scale: bool = False,
        use_pre_norm: bool = False,
        image_mean: float | Sequence[float] = 0.5,
        image_std: float | Sequence[float] = 0.5,
        use_final_norm: bool = True,
        use_position_embedding: bool = True,
        rotary_theta: float | None = None,
        crop_to_patches: bool = False,
        quantization: str | None = None,
        source_fingerprint: str | None = None,
        resizing: str = DEFAULT,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        patch_size = (
            (patch_size,) * 2 if isinstance(patch_size, int) else tuple(patch_size)
        )
        image_shape = check_image_shape(image_shape, patch_size, crop_to_patches)
        check_resizing(resizing)
        # === Layers ===
        image_normalization = ImageNormalization(
            image_mean, image_std, dtype=dtype, name="image_normalization"
        )
        patch_embedding = PatchEmbedding(
            image_shape,
            patch_size,
            hidden_dim,
            use_class_token=use_class_token,
            num_register_tokens=num_register_tokens,
            use_bias=use_patch_bias,
            use_position_embedding=use_position_embedding,
            dtype=dtype,
            name="patch_embedding",
        )
        blocks = [
            EncoderBlock(
                num_heads,
                mlp_dim,
                activation=activation,
                layer_norm_epsilon=layer_norm_epsilon,
                use_qkv_bias=use_qkv_bias,
                use_output_bias=use_output_bias,
                use_mlp_bias=use_mlp_bias,
                use_layer_scale=use_layer_scale,
                rotary_theta=rotary_theta,
                grid_shape=patch_embedding.grid_shape,
                dtype=dtype,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        pre_norm, norm = (
            keras.layers.LayerNormalization(
                epsilon=layer_norm_epsilon, dtype=dtype, name=name
            )
            for name in ("pre_norm", "norm")
        )
        if not use_final_norm:
            norm = keras.layers.Identity(dtype=dtype, name="norm")

        # === Functional Model ===
        images = keras.Input(image_shape, name="images")
        x = patch_embedding(image_normalization(images))
        if use_pre_norm:
            x = pre_norm(x)
        for block in blocks:
            x = block(x)
        kwargs.pop("trainable", None)
        super().__init__(inputs=images, outputs=norm(x), **kwargs)
        self.image_normalization = image_normalization
        self.patch_embedding = patch_embedding
        self.pre_norm = pre_norm if use_pre_norm else None
        self.blocks = blocks
        self.norm = norm
        self.trainable = False
        self._fingerprint = RememberedFingerprint()
        check_quantization(quantization)
        if quantization is not None:
            quantize_blocks(self, quantization)
        self.quantization = quantization
        self.source_fingerprint = source_fingerprint
        self.resizing = resizing

        # === Config ===
        self.image_shape = image_shape
        self.patch_size = patch_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.use_class_token = use_class_token
        self.num_register_tokens = num_register_tokens
        self.use_qkv_bias = use_qkv_bias
        self.use_output_bias = use_output_bias
        self.use_mlp_bias = use_mlp_bias
        self.use_patch_bias = use_patch_bias
        self.use_layer_scale = use_layer_scale
        self.use_pre_norm = use_pre_norm
        self.image_mean = self.image_normalization.mean
        self.image_std = self.image_normalization.std
        self.use_final_norm = use_final_norm
        self.use_position_embedding = use_position_embedding
        self.rotary_theta = rotary_theta
        self.crop_to_patches = crop_to_patches

    def embed(self, images):
        """Images (B, H, W, 3) in [0, 255] -> the first block's tokens (B, T, D)."""
        x = self.patch_embedding(self.image_normalization(images))
        return x if self.pre_norm is None else self.pre_norm(x)

    def base_layers(self, images, num_queries=0):
        """The frozen stream, layer by layer, each computed when it is asked for.

        Args:
            images: `(B, H, W, 3)` in [0, 255].
            num_queries: int. How many queries attend to each layer, see `BaseStates`.

        Yields:
            Pairs of `EncoderBlock` and `BaseStates`; the last one's `output()` is the
            encoder's, before its norm.
        """
        base = None
        for block in self.blocks:
            x = self.embed(images) if base is None else base.output()
            base = block.base_states(x, num_queries)
            yield block, base

    def stored_layers(self, states, num_queries=0, cast=keras.ops.cast):
        """The same from stored states `(B, L, T, D)` of this backbone; no output.

        `cast` is `ops.cast`, or `FiniteImages.cast`, of a layer's tokens.
        """
        *rows, width = states.shape[1:]
        if keras.backend.standardize_dtype(states.dtype) == "int8":
            width -= 4  # a token's scale
        if (*rows, width) != self.state_shape:
            raise ValueError(
                "`states` must be those of the backbone's layers, of the shape "
                f"{(None, *self.state_shape)}. Received: {tuple(states.shape)}"
            )
        for i, block in enumerate(self.blocks):
            normed = cast(as_floats(states[:, i]), self.tokens_dtype)
            yield block, BaseStates(block, normed, num_queries=num_queries)

    @property
    def tokens_dtype(self):
        """The type that tokens are computed in, such as `"bfloat16"`."""
        return self.blocks[0].compute_dtype

    @property
    def state_shape(self):
        """Shape of an image's states: layers, base tokens, width."""
        tokens = self.num_base_tokens + self.num_patches
        return self.num_layers, tokens, self.hidden_dim

    @property
    def num_base_tokens(self):
        """Tokens in front of the patches: class token and register tokens."""
        return int(self.use_class_token) + self.num_register_tokens

    @property
    def num_patches(self):
        """Number `N` of image patches."""
        return self.patch_embedding.num_patches

    def fingerprint(self):
        """SHA-256 of the weights and of the configuration that they mean.

        Two backbones with one fingerprint compute the same function, whatever
        their name, precision or backend. It is remembered while no weight changes.
        One of fewer bytes a weight has the fingerprint of the one it was made of.
        """
        return self.source_fingerprint or self._fingerprint.of(self)

    def stored_fingerprint(self):
        """The same of the weights as they are here, rounded or quantised."""
        return self._fingerprint.of(self)

    def replicate(self, *, antialias=False, **changes):
        """A new backbone with the same weights and some arguments changed.

        Args:
            antialias: bool. Whether interpolating positions to a smaller
                `image_shape` widens the kernel.
            **changes: any of `image_shape`, `image_mean`, `image_std`,
                `resizing`, `dtype`, `name`.

        Returns:
            A `ViTBackbone`. Position embeddings are interpolated
            (bicubically) where `image_shape` asks for another grid.
        """
        with weights_are_copied():
            other = type(self).from_config({**self.get_config(), **changes})
        copy_weights(self, other, antialias)
        return other

    def get_config(self):
        dtype = self.image_normalization.dtype_policy
        names = ("quantization", "source_fingerprint")
        resizing = {} if self.resizing == DEFAULT else {"resizing": self.resizing}
        return {
            **architecture(self),
            **resizing,
            **{name: getattr(self, name) for name in names if getattr(self, name)},
            "dtype": keras.dtype_policies.serialize(dtype),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        return cls(**config)
