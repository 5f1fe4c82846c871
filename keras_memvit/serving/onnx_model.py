"""A servable as an ONNX file, by tf2onnx."""

import contextlib
import os

import numpy as np
import tensorflow as tf

from keras_memvit.models.unified.answer import ALL
from keras_memvit.serving.signatures import answers
from keras_memvit.serving.signatures import logits_of
from keras_memvit.tasks.spec import BASE

OPSET = 18  # the newest that tf2onnx writes


def write_onnx(servable, request, probe):
    """Writes the file and runs it in onnxruntime.

    Args:
        servable: a `Servable`.
        request: a `Request`.
        probe: images `(B, H, W, 3)`.

    Returns:
        A dict from output to a list of its logits for `probe`.
    """
    import onnx
    import onnxruntime
    import tf2onnx

    _teach_erfc()
    tasks = [*servable.specs]
    tasks += [BASE] if servable.classifier is not None else []
    tasks += [ALL] if servable.answer is not None else []

    @tf.function(autograph=False)
    def predict(images):
        return answers(servable, images, tasks, labels=False)

    shape = (None, *servable.backbone.image_shape)
    with _optimizers_in_place():
        model, _ = tf2onnx.convert.from_function(
            predict, [tf.TensorSpec(shape, name="images")], opset=OPSET
        )
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    _take_empty_batches(model.graph)
    onnx.save(model, request.path)
    session = onnxruntime.InferenceSession(
        request.path, providers=["CPUExecutionProvider"]
    )
    names = [logits_of(task, servable.kinds) for task in tasks]
    session.run(names, {"images": probe[:0].astype("float32")})
    outputs = session.run(names, {"images": probe.astype("float32")})
    return {task: [output] for task, output in zip(tasks, outputs)}


@contextlib.contextmanager
def _optimizers_in_place():
    """Else tf2onnx copies the graph and its weights before each optimiser, 48 times.

    One that fails then fails the export; with copies it would be left out.
    """
    name = "TF2ONNX_CATCH_ERRORS"
    given = os.environ.get(name)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = given


def _take_empty_batches(graph):
    """A zero in a shape computed from the batch is a size, as in TensorFlow.

    For `Reshape` it otherwise means the size that the input has there.
    """
    import onnx

    constant = {initializer.name for initializer in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] not in constant:
            node.attribute.append(onnx.helper.make_attribute("allowzero", 1))


def _teach_erfc():
    """The exact gelu is `Erfc` in TensorFlow, which tf2onnx does not know."""
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            """`1 - Erf(x)`."""
            types = {"dtypes": node.output_dtypes, "shapes": node.output_shapes}
            (x,), outputs, name = node.input, list(node.output), node.name
            ctx.remove_node(name)
            erf = ctx.make_node("Erf", [x], **types)
            one = ctx.make_const(f"{name}_one", np.array(1, "float32"))
            inputs = [one.output[0], erf.output[0]]
            ctx.make_node("Sub", inputs, outputs=outputs, name=name, **types)
