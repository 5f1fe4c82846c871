"""Requests that TensorFlow Serving replays when it loads a model."""

import pathlib

import numpy as np
import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"


def write_warmup(folder, model_name, wanted, image_shape):
    """Writes one request a signature, at batch size 1.

    Args:
        folder: the SavedModel.
        model_name: str. The name that the server gives the model.
        wanted: dict from signature name to `(kind, task names)`.
        image_shape: `(height, width, 3)`.
    """
    image = np.full((1, *image_shape), 127, "float32")
    encoded = tf.io.encode_jpeg(image[0].astype("uint8")).numpy()
    path = pathlib.Path(folder) / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, (kind, _) in wanted.items():
            log = _request(model_name, name, kind, image, encoded)
            writer.write(log.SerializeToString())


def _request(model_name, signature, kind, image, encoded):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    if kind == "classify":
        request = log.classify_log.request
        example = request.input.example_list.examples.add()
        example.features.feature["image_bytes"].bytes_list.value.append(encoded)
    else:
        request = log.predict_log.request
        name, value = (
            ("images", image)
            if kind == "images"
            else (
                "image_bytes",
                [encoded],
            )
        )
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    return log
