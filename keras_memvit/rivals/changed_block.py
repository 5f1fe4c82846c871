"""A block of which a rival changes what the projections and the halves give."""

from keras import ops

from keras_memvit.layers.dot_product_attention import dot_product_attention

PROJECTIONS = ("query", "key", "value", "output", "expand", "contract")


def changed_block(block, x, change):
    """A block's `(B, T, D)` with a change at each of its places.

    Args:
        block: `EncoderBlock`.
        x: tokens `(B, T, D)`.
        change: `(place, y, x)` to what stands in place of `y`: `place` is one of
            `PROJECTIONS`, `"hidden"`, `"attended"` or `"mlp"`, `y` what it gives,
            `(B, T, W)`, `x` what it takes, `(B, T, V)`.
    """
    normed = block.norm1(x)
    attended = _attend(block.attention, normed, change)
    x = block.add_attended(x, change("attended", attended, normed))
    normed = block.norm2(x)
    y = block.mlp.adapted(normed, change)
    return block.add_mlp(x, change("mlp", y, normed))


def projection(block, place):
    """The `Dense` of one of `PROJECTIONS`."""
    if place in ("expand", "contract"):
        return getattr(block.mlp, place)
    name = "output_projection" if place == "output" else place
    return getattr(block.attention, name)


def _attend(attention, x, change):
    """Tokens over all tokens: (B, T, D) -> (B, T, D)."""
    query, key, value = (
        attention.split_heads(change(place, getattr(attention, place)(x), x))
        for place in ("query", "key", "value")
    )
    query, key = attention.rotate(query), attention.rotate(key)
    y = dot_product_attention(query, key, value)  # (B, T, H, d)
    y = ops.reshape(y, (-1, y.shape[1], attention.num_heads * attention.head_dim))
    return change("output", attention.output_projection(y), y)
