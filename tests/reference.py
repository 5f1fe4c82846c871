"""The paper's definition in NumPy: one concatenated tensor, one dense mask.

Independent of the package but for reading its weights: base tokens, class
tokens and memory stand in one sequence, and `attention_mask` decides who
attends to whom. Slow, and plain on purpose.
"""

import math

import keras
import numpy as np
import reference_adapters

from keras_memvit import attention_mask

_erf = np.vectorize(math.erf)

_ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}


def _np(weight):
    return np.asarray(keras.ops.convert_to_numpy(weight), dtype="float64")


def _norm(layer, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.epsilon)
    return x * _np(layer.gamma) + _np(layer.beta)


def _dense(layer, x):
    x = x @ _np(layer.kernel)
    return x if layer.bias is None else x + _np(layer.bias)


def _head(task, x):
    weights = task.variables_by_name
    return x @ _np(weights["head/kernel"]) + _np(weights["head/bias"])


def _mlp(layer, x):
    x = _dense(layer.expand, x)
    if layer.activation == "swiglu":
        gate, x = np.split(x, 2, axis=-1)
        x = gate / (1 + np.exp(-gate)) * x
    else:
        x = _ACTIVATIONS[layer.activation](x)
    return _dense(layer.contract, x)


def _rotate(layer, x, patches):
    """Rotary positions of patches, pairs of `(B, T, H, d)` as complex numbers."""
    if layer.rotary_theta is None:
        return x
    (rows, columns), half = layer.grid_shape, x.shape[-1] // 2
    angles = np.zeros((rows, columns, half))
    for row, column, k in np.ndindex(angles.shape):
        n, at = (rows, row) if k < half // 2 else (columns, column)
        period = layer.rotary_theta ** ((k % (half // 2)) / (half // 2))
        angles[row, column, k] = 2 * math.pi * (2 * (at + 0.5) / n - 1) / period
    pairs = x[:, patches, :, :half] + 1j * x[:, patches, :, half:]
    pairs = pairs * np.exp(1j * angles.reshape(-1, 1, half))
    x = x.copy()
    x[:, patches] = np.concatenate([pairs.real, pairs.imag], axis=-1)
    return x


def _attention(layer, queries, keys, mask, patches, placed=True):
    def heads(projection, x):
        x = _dense(projection, x)
        return x.reshape(*x.shape[:-1], layer.num_heads, -1)

    q, k, v = (
        heads(layer.query, queries),
        heads(layer.key, keys),
        heads(layer.value, keys),
    )
    q, k = _rotate(layer, q, patches) if placed else q, _rotate(layer, k, patches)
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    output = np.einsum("bhqk,bkhd->bqhd", weights, v)
    return _dense(layer.output_projection, output.reshape(*output.shape[:2], -1))


def _attend_queries(layer, queries, base, patches):
    """A deep readout's queries (Q, D) over the base tokens: (B, Q, D)."""
    heads = (layer.num_heads, -1)
    k, v = (_dense(p, base) for p in (layer.key, layer.value))
    q, k, v = (x.reshape(*x.shape[:-1], *heads) for x in (queries, k, v))
    scores = np.einsum("qhd,bkhd->bhqk", q, _rotate(layer, k, patches))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(len(base), *queries.shape)


def _side(task, readout, states, grid):
    """A side stream over each layer's normed base tokens (B, T, D): (B, 2 r)."""
    w = {k: _np(v) for k, v in task.variables_by_name.items() if k.startswith("side/")}
    s, front = 0.0, states[0].shape[1] - grid[0] * grid[1]
    for i, u in enumerate(states):
        s = s + u @ w["side/input"][i]
        y = _standardized(s)
        heads = (*s.shape[:2], readout.num_heads, -1)
        parts = (y @ w["side/query"][i], y, y @ w["side/value"][i])
        q, k, v = (part.reshape(heads) for part in parts)
        scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        s = s + np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(s.shape)
        x = _standardized(s)[:, front:].reshape(len(s), *grid, -1)
        for row, column in np.ndindex(grid):
            for i_row, i_column in np.ndindex(3, 3):
                at = (row + i_row - 1, column + i_column - 1)
                if 0 <= at[0] < grid[0] and 0 <= at[1] < grid[1]:
                    kernel = w["side/convolution"][i, i_row, i_column]
                    s[:, front + row * grid[1] + column] += x[:, at[0], at[1]] * kernel
        hidden = _ACTIVATIONS["gelu"](_standardized(s) @ w["side/expand"][i])
        s = s + hidden @ w["side/contract"][i]
    h = _standardized(s)
    scores = h @ w["side/pooling"]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    pooled = (h * weights[..., None]).sum(axis=1)
    return np.concatenate([h.mean(axis=1), pooled], axis=-1)


def _synthesised(task, blocks, states, patches):
    """Queries made layer by layer from what the last one found: (B, D)."""
    w = {k: _np(v) for k, v in task.variables_by_name.items()}
    gelu, rows, z = _ACTIVATIONS["gelu"], [], 0.0
    for i, (block, u) in enumerate(zip(blocks, states)):
        if i:
            z = (1 + w["synthesis/scale"][i - 1]) * z.mean(axis=1, keepdims=True)
        p = np.stack([w["synthesis/queries"][i]] * len(u)) + z
        p = p + gelu(p @ w["synthesis/down"][i]) @ w["synthesis/up"][i]
        scale1, scale2 = _scales(block)
        normed = _norm(block.norm1, p)
        h = _attention(block.attention, normed, u, True, patches, placed=False)
        h = scale1 * h
        m = scale2 * _mlp(block.mlp, _norm(block.norm2, p + h))
        z = p + h + m
        rows += [x.mean(axis=1) for x in (z, h, m)]
    given = _standardized(rows[-3]) @ w["mixer/kernel"] + w["mixer/bias"]
    found = [_standardized(row) for row in rows]
    found = [f + gelu(f @ w["mixer/down"]) @ w["mixer/up"] for f in found]
    weights = np.tanh(gelu(given)).T[:, :, None]  # (3 L, B, 1)
    return _standardized(found[-3] + (weights * np.stack(found)).sum(axis=0))


def _readout_features(spec, task, blocks, states, backbone):
    """What a task's head takes beside the class token, a list of (B, n)."""
    if spec.readout.name == "deep":
        queries = _np(task.variables_by_name["queries"])
        patches = slice(states[0].shape[1] - backbone.num_patches, None)
        found = [
            _attend_queries(block.attention, queries[i], states[i], patches)
            for i, block in enumerate(blocks)
        ]
        return [_standardized(row) for rows in found for row in rows.swapaxes(0, 1)]
    if spec.readout.name == "side":
        grid = backbone.patch_embedding.grid_shape
        return [_side(task, spec.readout, states, grid)]
    if spec.readout.name == "synthesised":
        patches = slice(states[0].shape[1] - backbone.num_patches, None)
        return [_synthesised(task, blocks, states, patches)]
    if spec.readout.name == "mean_patch":
        mean = states[-1][:, -backbone.num_patches :].mean(axis=1)
        return [mean * _np(task.variables_by_name["scale"])]
    return []


def _standardized(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def _embed(backbone, images):
    """Images -> (base tokens, position of the class token)."""
    embedding = backbone.patch_embedding
    x = (images / 255.0 - np.array(backbone.image_mean)) / np.array(backbone.image_std)
    (rows, columns), (height, width) = embedding.grid_shape, embedding.patch_size
    kernel = _np(embedding.kernel)
    patches = np.stack(
        [
            np.einsum(
                "bhwc,hwcd->bd",
                x[:, r * height : (r + 1) * height, c * width : (c + 1) * width],
                kernel,
            )
            for r in range(rows)
            for c in range(columns)
        ],
        axis=1,
    )
    if embedding.use_bias:
        patches = patches + _np(embedding.bias)
    positions = np.zeros((1 + backbone.num_patches, 1))
    if embedding.use_position_embedding:
        positions = _np(embedding.position_embedding)
    if not embedding.use_class_token:
        return patches + positions, 0.0
    tokens = [
        np.broadcast_to(_np(embedding.class_token) + positions[:1], (len(x), 1, 32))
    ]
    if embedding.num_register_tokens:
        registers = _np(embedding.register_tokens)
        tokens.append(np.broadcast_to(registers, (len(x), *registers.shape)))
    return np.concatenate([*tokens, patches + positions[1:]], axis=1), positions[0]


def dense_forward(model, images):
    """Logits by task name, and the base tokens behind the last norm.

    Args:
        model: a `MemoryViT` with masked attention.
        images: `(B, H, W, 3)` in [0, 255].
    """
    backbone, layers = model.backbone, list(model.task_layers.values())
    x, class_position = _embed(backbone, images.astype("float64"))
    num_base = x.shape[1]
    class_tokens = np.stack([_np(t.class_token) for t in layers]) + class_position
    x = np.concatenate(
        [x, np.broadcast_to(class_tokens, (len(x), *class_tokens.shape))], 1
    )
    if backbone.pre_norm is not None:
        x = _norm(backbone.pre_norm, x)
    front = num_base - backbone.num_patches
    patches = slice(front, num_base)
    states = []  # each layer's normed base tokens
    for i, block in enumerate(backbone.blocks):
        normed = _norm(block.norm1, x)
        states.append(normed[:, :num_base])
        memory = []
        for spec, task in zip(model.specs, layers):
            tokens = _np(task.memory.memory)[i]
            memory.append(_norm(block.norm1, tokens) if spec.memory_norm else tokens)
        memory = np.concatenate(memory)
        memory = np.broadcast_to(memory, (len(x), *memory.shape))
        keys = np.concatenate([normed, memory], axis=1)
        mask = attention_mask(
            model.specs, backbone.num_patches, num_base_tokens=front, layer=i
        )
        attended = _attention(block.attention, normed, keys, mask, patches)
        before, x = x, _residual(block, x, attended)
        for k, task in enumerate(layers):
            if task.spec.adapter is not None:
                row = slice(num_base + k, num_base + k + 1)
                own = (before[:, row], normed[:, row], keys, num_base, mask[row])
                x[:, row] = reference_adapters.adapted_token(
                    block, task, i, *own, patches
                )
    x = _norm(backbone.norm, x)
    logits = {}
    for k, (spec, task) in enumerate(zip(model.specs, layers)):
        features = [x[:, num_base + k] * spec.readout.class_token_scale]
        features += _readout_features(spec, task, backbone.blocks, states, backbone)
        logits[task.name] = _head(task, np.concatenate(features, axis=-1))
    return logits, x[:, :num_base]


def unmasked_forward(model, images):
    """Logits of the one task of a `MemoryViT` with unmasked attention."""
    backbone, (task,) = model.backbone, model.task_layers.values()
    x, class_position = _embed(backbone, images.astype("float64"))
    class_token = np.broadcast_to(
        _np(task.class_token) + class_position, x[:, :1].shape
    )
    old = 1 if backbone.use_class_token else 0  # whose place it takes
    x = np.concatenate([class_token, x[:, old:]], axis=1)
    patches = slice(x.shape[1] - backbone.num_patches, x.shape[1])
    for i, block in enumerate(backbone.blocks):
        tokens = _np(task.memory.memory)[i]
        tokens = np.broadcast_to(tokens, (len(x), *tokens.shape))
        normed = _norm(block.norm1, x)
        keys = np.concatenate([normed, _norm(block.norm1, tokens)], axis=1)
        attended = _attention(block.attention, normed, keys, True, patches)
        x = _residual(block, x, attended)
    return _head(task, _norm(backbone.norm, x)[:, 0])


def _residual(block, x, attended):
    scale1, scale2 = _scales(block)
    x = x + attended * scale1
    return x + _mlp(block.mlp, _norm(block.norm2, x)) * scale2


def _scales(block):
    """Layer scale of both residual branches."""
    if not block.use_layer_scale:
        return 1.0, 1.0
    return _np(block.scale1), _np(block.scale2)
