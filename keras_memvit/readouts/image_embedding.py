"""The image embedding that an image-text backbone was pretrained to give."""

import dataclasses
from typing import Any

from keras import ops

from keras_memvit.readouts.class_token import first_tokens
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import register
from keras_memvit.readouts.readout import require_count


@dataclasses.dataclass(frozen=True)
class _State:
    embedding: Any  # the backbone's `BaseClassifier`
    tokens: Any = None  # its own class token (B, 1, D)
    base: Any = None  # or, where it pools all tokens, the last layer's `BaseStates`


@register
@dataclasses.dataclass(frozen=True)
class ImageEmbedding(Readout):
    """The unit-length image embedding `z / |z|` of CLIP, MetaCLIP 2 and SigLIP.

    What a task with `head_init="text"` takes beside its class token: a linear head on
    it can be the zero-shot classifier. `z` is what the backbone's own class token
    becomes, projected to the space of texts; it attends to the base tokens alone, of
    which it is one, so that a store of frozen states gives it too. SigLIP's pools all
    tokens of the last layer, which a store does not have.

    No numbers of a task but its head's. The model must have the backbone's classifier.

    Args:
        dim: int. The embedding's width `E`.
        fingerprint: optional str, of the weights that give it: a task of one is refused
            on a model of another. `head_init="text"` sets it.

    Raises:
        ValueError: if `dim` is no positive int.

    Example:

    >>> keras_memvit.readouts.ImageEmbedding(dim=512).num_features(None)
    512

    Reference:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 1
    """

    name = "image_embedding"
    num_queries = 1
    needs_embedding = True
    dim: int
    fingerprint: str | None = None

    def __post_init__(self):
        require_count(self, "dim")

    def num_features(self, backbone):
        return self.dim

    def start(self, tasks, backbone, batch):
        embedding = tasks[0].embedding
        if embedding.pooling != "token":
            return _State(embedding)
        token = first_tokens(backbone.patch_embedding.class_token.value, backbone)
        token = ops.cast(token, backbone.tokens_dtype)
        return _State(embedding, ops.repeat(token[None], batch, axis=0))

    def step(self, tasks, layer, block, base, state):
        if state.tokens is None:
            return dataclasses.replace(state, base=base)
        attended = block.attention.read(block.norm_tokens(state.tokens), base)
        return dataclasses.replace(state, tokens=block.advance(state.tokens, attended))

    def features(self, tasks, backbone, state):
        tokens = state.tokens
        if tokens is None:
            if state.base.x is None:
                raise ValueError(
                    f"The tasks {[task.spec.name for task in tasks]} take the image "
                    "embedding, which this backbone pools from the last layer's "
                    "tokens: they need images, a store does not have these"
                )
            tokens = state.base.output()
        z = ops.cast(state.embedding(backbone.norm(tokens)), "float32")  # (B, E)
        squares = ops.sum(z * z, axis=-1, keepdims=True)
        # Of an image that is not finite a NaN would reach the head's gradient.
        z = ops.where(ops.isfinite(squares), z * ops.rsqrt(squares), 0.0)
        return [z] * len(tasks)
