"""A KerasHub model's weights as transformers lays them down."""

import json

import numpy as np
from keras import ops
from safetensors.numpy import save_file


def _np(weight):
    return np.array(ops.convert_to_numpy(weight), dtype="float32")


def _dense(name, layer):
    found = {f"{name}.weight": _np(layer.kernel).reshape(layer.kernel.shape[0], -1).T}
    if layer.bias is not None:
        found[f"{name}.bias"] = _np(layer.bias).reshape(-1)
    return found


def _norm(name, layer):
    return {f"{name}.weight": _np(layer.gamma), f"{name}.bias": _np(layer.beta)}


def _patches(layer):
    return _np(layer.kernel).transpose(3, 2, 0, 1)


def dinov3_folder(source, folder, mean, std):
    """Lays down a `DINOV3Backbone` as transformers would."""
    embedding = source.embeddings
    weights = {
        "embeddings.cls_token": _np(embedding.cls_token),
        "embeddings.mask_token": _np(embedding.mask_token),
        "embeddings.patch_embeddings.weight": _patches(
            embedding.patch_embeddings.projection
        ),
        "embeddings.patch_embeddings.bias": _np(
            embedding.patch_embeddings.projection.bias
        ),
        **_norm("norm", source.layernorm),
    }
    if source.num_register_tokens:
        weights["embeddings.register_tokens"] = _np(embedding.register_tokens)
    for i, layer in enumerate(source.encoder.layers):
        attention, mlp = layer.attention, layer.mlp
        for name, part in {
            "attention.q_proj": attention.query_dense,
            "attention.k_proj": attention.key_dense,
            "attention.v_proj": attention.value_dense,
            "attention.o_proj": attention.output_dense,
            "mlp.gate_proj": getattr(mlp, "gate_proj", None),
            "mlp.up_proj": mlp.up_proj,
            "mlp.down_proj": mlp.down_proj,
        }.items():
            if part is not None:
                weights.update(_dense(f"layer.{i}.{name}", part))
        for k, scale in ((1, layer.layer_scale1), (2, layer.layer_scale2)):
            weights[f"layer.{i}.layer_scale{k}.lambda1"] = _np(scale.lambda1)
            weights.update(_norm(f"layer.{i}.norm{k}", getattr(layer, f"norm{k}")))
    config = {
        "model_type": "dinov3_vit",
        "architectures": ["DINOv3ViTModel"],
        "image_size": source.image_shape[0],
        "patch_size": source.patch_size,
        "num_hidden_layers": source.num_layers,
        "hidden_size": source.hidden_dim,
        "num_attention_heads": source.num_heads,
        "intermediate_size": source.intermediate_dim,
        "layerscale_value": 1.0,
        "num_register_tokens": source.num_register_tokens,
        "hidden_act": source.hidden_activation,
        "use_gated_mlp": source.use_gated_mlp,
        "query_bias": source.use_query_bias,
        "key_bias": source.use_key_bias,
        "value_bias": source.use_value_bias,
        "proj_bias": source.use_proj_bias,
        "mlp_bias": source.use_mlp_bias,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
        "layer_norm_eps": source.layer_norm_eps,
        "rope_theta": source.rope_theta,
    }
    _write(folder, config, weights, mean, std)


def metaclip_folder(source, folder, mean, std):
    """Lays down a `MetaCLIP2Backbone` as transformers would."""
    image, text = source.vision_encoder, source.text_encoder
    embedding = image.embedding
    weights = {
        "logit_scale": _np(source.metaclip_2_head.logit_scale),
        "vision_model.embeddings.patch_embedding.weight": _patches(
            embedding.patch_embedding
        ),
        "vision_model.embeddings.position_embedding.weight": _np(
            embedding.position_embedding.embeddings
        ),
        "vision_model.embeddings.class_embedding": _np(embedding.class_embedding),
        "text_model.embeddings.token_embedding.weight": _np(
            text.embedding.token_embedding.embeddings
        ),
        "text_model.embeddings.position_embedding.weight": _np(
            text.embedding.position_embedding.position_embeddings
        ),
        **_norm("vision_model.pre_layrnorm", image.pre_layer_norm),
        **_norm("vision_model.post_layernorm", source.vision_post_layer_norm),
        **_norm("text_model.final_layer_norm", text.layer_norm),
        **_dense("visual_projection", source.vision_projection),
        **_dense("text_projection", source.text_projection),
    }
    for tower, encoder in (("vision_model", image), ("text_model", text)):
        for i, layer in enumerate(encoder.encoder_layers):
            name, attention = f"{tower}.encoder.layers.{i}", layer.attention
            weights.update(_dense(f"{name}.self_attn.q_proj", attention.query_dense))
            weights.update(_dense(f"{name}.self_attn.k_proj", attention.key_dense))
            weights.update(_dense(f"{name}.self_attn.v_proj", attention.value_dense))
            output = attention.output_dense  # (H, d, D)
            kernel = _np(output.kernel).reshape(-1, encoder.hidden_dim)
            weights[f"{name}.self_attn.out_proj.weight"] = kernel.T
            weights[f"{name}.self_attn.out_proj.bias"] = _np(output.bias)
            weights.update(_norm(f"{name}.layer_norm1", layer.layer_norm_1))
            weights.update(_norm(f"{name}.layer_norm2", layer.layer_norm_2))
            weights.update(_dense(f"{name}.mlp.fc1", layer.dense_1))
            weights.update(_dense(f"{name}.mlp.fc2", layer.dense_2))

    def sizes(encoder):
        return {
            "hidden_size": encoder.hidden_dim,
            "num_hidden_layers": encoder.num_layers,
            "num_attention_heads": encoder.num_heads,
            "intermediate_size": encoder.intermediate_dim,
            "hidden_act": encoder.intermediate_activation,
        }

    config = {
        "model_type": "metaclip_2",
        "architectures": ["MetaClip2Model"],
        "projection_dim": source.projection_dim,
        "vision_config": {
            **sizes(image),
            "patch_size": image.patch_size,
            "image_size": image.image_shape[0],
        },
        "text_config": {
            **sizes(text),
            "vocab_size": text.vocabulary_size,
            "max_position_embeddings": text.max_sequence_length,
        },
    }
    _write(folder, config, weights, mean, std)


def _write(folder, config, weights, mean, std):
    (folder / "config.json").write_text(json.dumps(config))
    statistics = {"image_mean": mean, "image_std": std}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    weights = {k: np.array(value, order="C") for k, value in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
