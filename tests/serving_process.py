"""A SavedModel loaded as TensorFlow Serving loads it, in a process without Keras."""

import ctypes
import pathlib
import sys

import tensorflow as tf

for name in [m for m in sys.modules if m.split(".")[0] == "keras"]:
    sys.modules[name] = None  # TensorFlow itself imports it: block it from here
sys.modules["keras"] = sys.modules["keras_memvit"] = None


def disable_xla():
    """As the stock server does: XLA compilation is off."""
    library = pathlib.Path(tf.sysconfig.get_lib()) / "libtensorflow_cc.so.2"
    ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()


class ServedModel:
    """Runs signatures by name, in a session."""

    def __init__(self, folder):
        disable_xla()
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        meta_graph = tf.compat.v1.saved_model.loader.load(
            self.session, ["serve"], str(folder)
        )
        self.signatures = meta_graph.signature_def

    def run(self, signature, inputs):
        """Outputs by name; inputs are arrays by name."""
        definition = self.signatures[signature]
        feeds = {definition.inputs[k].name: value for k, value in inputs.items()}
        fetches = {k: tensor.name for k, tensor in definition.outputs.items()}
        return self.session.run(fetches, feeds)

    def replay(self, request, method):
        """Answers a PredictRequest or a ClassificationRequest."""
        signature = request.model_spec.signature_name
        assert self.signatures[signature].method_name == method
        if method.endswith("predict"):
            inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        else:
            examples = request.input.example_list.examples
            inputs = {"inputs": [e.SerializeToString() for e in examples]}
        return self.run(signature, inputs)


def grpc_server(model):
    """A PredictionService on a free port; returns the server and its address."""
    from concurrent import futures

    import grpc
    from tensorflow_serving.apis import classification_pb2
    from tensorflow_serving.apis import predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc as service

    class Service(service.PredictionServiceServicer):
        def Predict(self, request, context):
            try:
                outputs = model.replay(request, "tensorflow/serving/predict")
            except tf.errors.OpError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
            response = predict_pb2.PredictResponse()
            for name in request.output_filter or outputs:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

        def Classify(self, request, context):
            outputs = model.replay(request, "tensorflow/serving/classify")
            response = classification_pb2.ClassificationResponse()
            for names, scores in zip(outputs["classes"], outputs["scores"]):
                row = response.result.classifications.add()
                for label, score in zip(names, scores):
                    row.classes.add(label=label.decode(), score=score)
            return response

    server = grpc.server(futures.ThreadPoolExecutor(2))
    service.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    return server, f"localhost:{port}"
