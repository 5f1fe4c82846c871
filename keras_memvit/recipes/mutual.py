"""Mutual attention in the frozen last layer: images read one another's patches."""

import math

import numpy as np
from keras import ops

BATCH_SIZE = 32


class FrozenReads:
    """What a store says of each image in front of the last layer, and behind it.

    Args:
        backbone: a `ViTBackbone`.
        store: the `StateStore`.

    Attributes:
        tokens: `(n, D)`, class tokens that enter the last layer; None where the
            backbone has none.
        features: `(n, D)`, class tokens after it and the last norm; without, the mean
            over the last layer's patches.
    """

    def __init__(self, backbone, store):
        self.backbone = backbone
        self.store = store
        found = [
            self._read(np.arange(first, min(first + BATCH_SIZE, len(store))))
            for first in range(0, len(store), BATCH_SIZE)
        ]
        tokens, features = zip(*found)
        self.features = np.concatenate(features)
        self.tokens = None if tokens[0] is None else np.concatenate(tokens)

    def _read(self, rows):
        """Tokens and features of some images, as arrays `(B, D)`."""
        token, before, base = self._first_token(len(rows)), None, None
        states = ops.convert_to_tensor(self.store.rows(rows))
        for block, base in self.backbone.stored_layers(states):
            if token is not None:
                before = token
                read = block.attention.read(block.norm1(token), base)
                token = block.advance(token, read)
        if token is None:
            patches = base.normed[:, self.backbone.num_base_tokens :]
            return None, _numpy(ops.mean(ops.cast(patches, "float32"), axis=1))
        return _numpy(before[:, 0]), _numpy(self.backbone.norm(token)[:, 0])

    def _first_token(self, batch):
        embedding, dtype = self.backbone.patch_embedding, self.backbone.tokens_dtype
        if not embedding.use_class_token:
            return None
        token = embedding.add_class_position(ops.cast(embedding.class_token, dtype))
        if self.backbone.pre_norm is not None:
            token = self.backbone.pre_norm(token)
        return ops.repeat(ops.cast(token, dtype)[None], batch, axis=0)

    def swapped(self, readers, read):
        """Class tokens of some images, having read the patches of others.

        In the last layer the class token of image `a` stands before the patches of
        image `b`, `[c_a; P_b]`, and attends to both. Of `a = b` it is the frozen
        encoder's own.

        Args:
            readers: rows of the `A` images whose class tokens read.
            read: rows of the `B` images that are read.

        Returns:
            Array `(B, A, D)`, after the last norm.
        """
        parts = [
            self._swapped(self.tokens[readers], read[i : i + BATCH_SIZE])
            for i in range(0, len(read), BATCH_SIZE)
        ]
        return np.concatenate(parts)

    def _swapped(self, tokens, read):
        backbone, block = self.backbone, self.backbone.blocks[-1]
        attention, dtype = block.attention, backbone.tokens_dtype
        states = ops.convert_to_tensor(self.store.rows(read))
        *_, (_, base) = backbone.stored_layers(states)
        others = type(base)(block, base.normed[:, 1:])  # without b's class token
        tokens = ops.cast(ops.convert_to_tensor(tokens), dtype)  # (A, D)
        normed = block.norm1(tokens[None])
        query = attention.split_heads(attention.query(normed))[0]
        query = query / math.sqrt(attention.head_dim)  # (A, H, d)
        key, value = (part[0] for part in attention.project(normed))
        scores = others.scores(query)  # (B, H, A, T - 1)
        own = ops.transpose(ops.sum(query * key, axis=-1))[None, ..., None]
        own = ops.repeat(own, len(read), axis=0)  # (B, H, A, 1)
        joint = ops.cast(ops.concatenate([own, scores], axis=-1), "float32")
        weights = ops.cast(ops.softmax(joint, axis=-1), dtype)
        mean = others.mean(weights[..., 1:])  # (B, A, H, d)
        mean = mean + ops.transpose(weights[..., :1], (0, 2, 1, 3)) * value[None]
        attended = attention.output_projection(
            ops.reshape(mean, (len(read), len(tokens), -1))
        )
        return _numpy(backbone.norm(block.advance(tokens[None], attended)))


def mutual_scores(reads, episode):
    """How much each query is of each class, by mutual attention: `(Q, ways)`.

    With `h(a, b)` the class token of `a` that has read `b`, `p_c` the mean feature of
    the class' support images and `u`, `v` means over these, the score of query `x` is
    `(cos(u_c, p_c) + cos(v_c, p_c)) / 2`, `u_c = mean h(s, x)`, `v_c = mean h(x, s)`.

    Reference:
        - [Zhu et al., 2024](https://arxiv.org/abs/2405.03109), the frozen form
    """
    u = reads.swapped(episode.support, episode.query)  # (Q, S, D)
    v = reads.swapped(episode.query, episode.support).transpose(1, 0, 2)
    member = np.eye(episode.ways, dtype="float32")[episode.support_labels]  # (S, C)
    member /= member.sum(0)
    means = _unit(member.T @ reads.features[episode.support])  # (C, D)
    found = 0.0
    for read in (u, v):
        of_class = _unit(np.einsum("qsd,sc->qcd", read, member))
        found = found + np.einsum("qcd,cd->qc", of_class, means) / 2
    return found


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _numpy(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))
