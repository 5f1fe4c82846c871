"""Sizes of Vision Transformers, as arguments of `ViTBackbone` and of KerasHub's."""


def vit(image_size, patch_size, hidden_dim, num_layers=12):
    """A ViT with heads of 64."""
    return {
        "image_shape": (image_size, image_size, 3),
        "patch_size": patch_size,
        "num_layers": num_layers,
        "num_heads": hidden_dim // 64,
        "hidden_dim": hidden_dim,
        "mlp_dim": 4 * hidden_dim,
    }


SMALL = vit(32, 16, 64, num_layers=2)  # to see that a benchmark runs
VIT_B16_224 = vit(224, 16, 768)
VIT_L16_224 = vit(224, 16, 1024, num_layers=24)
