"""The paper's "Head + Class": a new class token in place of the old one."""

from keras import ops

from keras_memvit.rivals.rival import Rival


class HeadClass(Rival):
    """A head on a class token of its own, which starts as the pretrained one.

    The patches see it as they saw the old one, so the old output changes.

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), section 4
    """

    needs_class_token = True

    def build(self, input_shape):
        self.class_token = self.add_weight(
            name="class_token", shape=(self.backbone.hidden_dim,), dtype="float32"
        )
        pretrained = self.backbone.patch_embedding.class_token
        self.class_token.assign(ops.convert_to_numpy(pretrained)[0])
        super().build(input_shape)

    def features(self, images):
        x = self.embed(images)
        for i, block in enumerate(self.backbone.blocks):
            x = block(self.enter(i, x))
        return self.backbone.norm(x)[:, 0]

    def embed(self, images):
        """Tokens with the new class token in the old one's place, (B, T, D)."""
        x = self.backbone.embed(images)
        token = self.backbone.patch_embedding.add_class_position(
            self.class_token.value[None]
        )
        if self.backbone.pre_norm is not None:
            token = self.backbone.pre_norm(token)
        return ops.concatenate([for_all(token, x), x[:, 1:]], axis=1)

    def enter(self, layer, x):
        """The tokens as they enter a layer."""
        return x


def for_all(tokens, x):
    """(m, D) -> (B, m, D), of the batch and type of `x`."""
    return ops.repeat(ops.cast(tokens, x.dtype)[None], ops.shape(x)[0], axis=0)
