"""What the peers benchmark measures: this library's and others' training steps."""

import contextlib
import importlib.util
import sys
import tempfile
import types

import torch
from speed_steps import NUM_CLASSES
from speed_steps import NUM_MEMORY_TOKENS
from speed_steps import SIZES
from speed_steps import many_task_model
from speed_steps import one_task_model
from speed_steps import original_backbone
from speed_steps import predict_step
from speed_steps import train_step

import keras_memvit

NUM_TASKS = (1, 10, 50)


class Method:
    """A training step, inference steps by number of tasks, trainable numbers.

    A peer answers several tasks one after the other, so that one step says all.
    """

    def __init__(self, train, infer, trainable):
        self.train = train
        self.infer = infer
        self.trainable = trainable


def ours(size, images, labels):
    """This library, on whatever backend runs."""
    model = one_task_model(keras_memvit.ViTBackbone(**SIZES[size][1]))
    models = {n: many_task_model(model.backbone, n) for n in NUM_TASKS[1:]}
    return Method(
        train_step(model, images, {"a": labels}),
        {n: predict_step(m, images) for n, m in {1: model, **models}.items()},
        model.task_layers["a"].count_params(),
    )


def torch_method(model, images, labels, logits=lambda outputs: outputs):
    """A torch module under SGD with momentum."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(logits(model(images)), labels)
        loss.backward()
        optimizer.step()

    def infer():
        with torch.no_grad():
            return logits(model(images))

    return Method(train, {1: infer}, sum(p.numel() for p in parameters))


def vit_pytorch_adapter(size, images, labels):
    with _torchvision():
        from vit_pytorch.learnable_memory_vit import Adapter
        from vit_pytorch.learnable_memory_vit import ViT

    _, config = SIZES[size]
    vit = ViT(
        image_size=config["image_shape"][0],
        patch_size=config["patch_size"],
        num_classes=NUM_CLASSES,
        dim=config["hidden_dim"],
        depth=config["num_layers"],
        heads=config["num_heads"],
        dim_head=config["hidden_dim"] // config["num_heads"],
        mlp_dim=config["mlp_dim"],
    )
    adapter = Adapter(
        vit=vit,
        num_memories_per_layer=NUM_MEMORY_TOKENS,
        num_classes=NUM_CLASSES,
    )
    return torch_method(adapter, _channels_first(images), labels)


@contextlib.contextmanager
def _torchvision():
    """An empty one if there is none: vit-pytorch's other models import it."""
    names = ("torchvision", "torchvision.transforms")
    missing = importlib.util.find_spec("torchvision") is None
    if missing:
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        sys.modules["torchvision"].transforms = sys.modules[names[1]]
    yield
    for name in names if missing else ():
        del sys.modules[name]


def hugging_face(size):
    import transformers

    _, config = SIZES[size]
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=config["hidden_dim"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            intermediate_size=config["mlp_dim"],
            image_size=config["image_shape"][0],
            patch_size=config["patch_size"],
            num_labels=NUM_CLASSES,
        )
    )


def peft_lora(size, images, labels):
    import peft

    config = peft.LoraConfig(
        r=8,
        target_modules=r".*\.(query|value|q_proj|v_proj)",
        modules_to_save=["classifier"],
    )
    model = peft.get_peft_model(hugging_face(size), config)
    return torch_method(model, _channels_first(images), labels, lambda o: o.logits)


def fine_tuning(size, images, labels):
    model = hugging_face(size)
    return torch_method(model, _channels_first(images), labels, lambda o: o.logits)


def head_only(size, images, labels):
    model = hugging_face(size)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("classifier")
    return torch_method(model, _channels_first(images), labels, lambda o: o.logits)


def keras_hub_lora(size, images, labels):
    import keras

    backbone = original_backbone(size)
    backbone.enable_lora(8)
    logits = keras.layers.Dense(NUM_CLASSES)(backbone.output[:, 0])
    model = keras.Model(backbone.input, logits)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images = images / 127.5 - 1.0
    return Method(
        train_step(model, images, labels),
        {1: predict_step(model, images)},
        sum(v.value.numel() for v in model.trainable_variables),
    )


METHODS = {
    "ours": ours,
    "vit-pytorch Adapter": vit_pytorch_adapter,
    "PEFT LoRA": peft_lora,
    "KerasHub LoRA": keras_hub_lora,
    "full fine-tuning": fine_tuning,
    "head only": head_only,
}


def _channels_first(images):
    return (images / 127.5 - 1.0).permute(0, 3, 1, 2).contiguous()


def bare_forwards(size, images):
    """The frozen backbones alone: ours, torch's, KerasHub's, onnxruntime's."""
    model = hugging_face(size).vit.eval()
    pixels = _channels_first(images)

    def forward():
        with torch.no_grad():
            return model(pixels)

    steps = {
        "ours": predict_step(keras_memvit.ViTBackbone(**SIZES[size][1]), images),
        "Hugging Face": forward,
        "onnxruntime": onnx_forward(model, pixels),
    }
    if original := original_backbone(size):
        steps["KerasHub"] = predict_step(original, images / 127.5 - 1.0)
    return steps


def onnx_forward(model, pixels):
    """The Hugging Face model in onnxruntime."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/vit.onnx"
        torch.onnx.export(model, (pixels,), path, input_names=["x"], dynamo=False)
        session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    images = pixels.numpy()
    return lambda: session.run(None, {name: images})
