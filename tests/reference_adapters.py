"""A class token with an adapter in NumPy: each weight changed itself, one row."""

import math

import numpy as np
import reference

_PLACES = ("query", "key", "value", "output", "expand", "contract")


def _changed(block, task, i):
    """A task's own copies of a block's kernels and biases, with its adapter in them."""
    layer, mlp, kind = block.attention, block.mlp, task.spec.adapter
    dense = [layer.query, layer.key, layer.value, layer.output_projection]
    found = {}
    for place, own in zip(_PLACES, [*dense, mlp.expand, mlp.contract]):
        kernel = reference._np(own.kernel)
        bias = (
            np.zeros(kernel.shape[1]) if own.bias is None else reference._np(own.bias)
        )
        found[place] = [kernel.copy(), bias.copy()]
    w = {
        name.removeprefix("adapter/"): reference._np(v)[i]
        for name, v in task.variables_by_name.items()
        if name.startswith("adapter/")
    }
    if kind == "lora":
        for place in ("query", "value"):
            found[place][0] += w[f"{place}/down"] @ w[f"{place}/up"]
    if kind == "grouped":
        for place in _PLACES:
            kernel = w[f"{place}/kernel"]
            groups, inner, outer = kernel.shape
            for g, a in np.ndindex(groups, inner):
                row, column = divmod(g * inner + a, groups)  # the shuffle
                row = column * inner + row
                found[place][0][row, g * outer : (g + 1) * outer] += kernel[g, a]
            found[place][1] += w[f"{place}/bias"]
    return found, w


def adapted_token(block, task, i, x, normed, keys, base, mask, patches):
    """A class token (B, 1, D) through a block with its task's adapter.

    Args:
        x, normed: the token before and after the norm.
        keys: all normed tokens and memory, of which the first `base` are base tokens.
        mask: `(1, tokens)`, whom it attends to.
    """
    layer, kind = block.attention, task.spec.adapter
    (own, w), gelu = _changed(block, task, i), reference._ACTIVATIONS["gelu"]

    def heads(x):
        return x.reshape(*x.shape[:-1], layer.num_heads, -1)

    def projected(place, x):
        return x @ own[place][0] + own[place][1]

    q = heads(projected("query", normed))
    k, v = reference._dense(layer.key, keys), reference._dense(layer.value, keys)
    k[:, :base], v[:, :base] = (projected(n, keys[:, :base]) for n in ("key", "value"))
    k = reference._rotate(layer, heads(k), patches)
    v = heads(v)
    if kind == "ia3":
        k[:, :base] *= heads(1 + w["key"])
        v[:, :base] *= heads(1 + w["value"])
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = np.einsum("bhqk,bkhd->bqhd", weights, v)
    attended = projected("output", attended.reshape(*attended.shape[:2], -1))

    def bottleneck(place, y):
        if kind != "bottleneck":
            return y
        hidden = gelu(y @ w[f"{place}/down"] + w[f"{place}/down_bias"])
        return y + hidden @ w[f"{place}/up"] + w[f"{place}/up_bias"]

    scale1, scale2 = reference._scales(block)
    x = x + bottleneck("attended", attended) * scale1
    hidden = projected("expand", reference._norm(block.norm2, x))
    if block.mlp.activation == "swiglu":
        gate, hidden = np.split(hidden, 2, axis=-1)
        hidden = gate / (1 + np.exp(-gate)) * hidden
    else:
        hidden = reference._ACTIVATIONS[block.mlp.activation](hidden)
    if kind == "ia3":
        hidden = hidden * (1 + w["hidden"])
    return x + bottleneck("mlp", projected("contract", hidden)) * scale2
