"""SavedModels as TensorFlow Serving uses them: fresh processes without Keras."""

import io
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import make_backbone
from PIL import Image
from processes import run_python
from test_saving import make_model

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.serving import images
from keras_memvit.serving import signatures

BATCHES = (1, 7, 64)

# What every backend exports is compared with its model on each of them; what
# the artefact then does is the same.
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the artefact is TensorFlow's from every backend: tested there",
)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """`<folder>/people/1`, with every signature."""
    folder = tmp_path_factory.mktemp("saved_models") / "people" / "1"
    assert keras_memvit.export_saved_model(model, folder) == folder
    return folder


@on_tensorflow
def test_decoding_is_traced_once_for_all_signatures(model, tmp_path, monkeypatch):
    traced = []

    def spy(image_bytes, **options):
        traced.append(options)
        return images.decode_images(image_bytes, **options)

    monkeypatch.setattr(signatures, "decode_images", spy)
    keras_memvit.export_saved_model(model, tmp_path / "1", warmup=False)
    assert len(traced) == 1


@pytest.fixture
def many_images():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (64, 32, 48, 3), dtype="uint8")


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


RUN_ALL = """
import sys
import numpy as np
from serving_process import ServedModel
import tensorflow as tf

folder, given, result = sys.argv[1:]
model = ServedModel(folder)
given = np.load(given, allow_pickle=True)
images, encoded = given["images"], list(given["encoded"])
examples = [
    tf.train.Example(features=tf.train.Features(feature={
        "image_bytes": tf.train.Feature(bytes_list=tf.train.BytesList(value=[e]))
    })).SerializeToString() for e in encoded
]
ops = {node.op for node in model.session.graph.as_graph_def().node}
ops |= {n.op for f in model.session.graph.as_graph_def().library.function
        for n in f.node_def}
assert "XlaCallModule" not in ops, ops
found = {}
for name, signature in model.signatures.items():
    if name.startswith("__"):
        continue
    for size in %s:
        values = {"images": images[:size].astype("float32"),
                  "image_bytes": encoded[:size], "inputs": examples[:size]}
        inputs = {k: values[k] for k in signature.inputs}
        for key, value in model.run(name, inputs).items():
            assert len(value) == size
            found[f"{name}|{key}|{size}"] = value
np.savez(result, **{k.replace("/", "~"): v for k, v in found.items()})
"""


def test_every_signature_answers_like_the_model(model, exported, many_images, tmp_path):
    encoded = np.array([encode(image) for image in many_images], dtype=object)
    np.savez(tmp_path / "given.npz", images=many_images, encoded=encoded)
    run_python(
        RUN_ALL % (BATCHES,),
        "tensorflow",
        exported,
        tmp_path / "given.npz",
        tmp_path / "result.npz",
    )
    found = dict(np.load(tmp_path / "result.npz", allow_pickle=True))
    expected = model.predict(many_images, verbose=0)
    names = {"a": np.array([b"x", b"y", b"z"]), "b": np.array([b"0", b"1"])}
    signatures = {}
    for key, value in found.items():
        signature, output, size = key.replace("~", "/").split("|")
        rows = slice(int(size))
        signatures.setdefault(signature, set()).add(output)
        task, _, what = output.rpartition("/")
        task = task or signature.removesuffix("_classify")
        logits = expected[task][rows]
        if what == "logits":
            np.testing.assert_allclose(value, logits, atol=1e-5)
        elif what in ("probabilities", "scores"):
            np.testing.assert_allclose(value, softmax(logits), atol=1e-5)
        elif signature.endswith("_classify"):
            np.testing.assert_array_equal(value, [names[task]] * int(size))
        else:
            order = np.argsort(-logits, axis=-1)
            np.testing.assert_array_equal(value, names[task][order])
    everything = {
        f"{t}/{w}" for t in "ab" for w in ("logits", "probabilities", "classes")
    }
    everything |= {"base/logits", "base/probabilities"}
    one = {t: {o for o in everything if o.startswith(t + "/")} for t in "ab"}
    assert signatures == {
        "serving_default": everything,
        "serving_default_bytes": everything,
        **{name: outputs for name, outputs in one.items()},
        **{f"{name}_bytes": outputs for name, outputs in one.items()},
        **{f"{name}_classify": {"classes", "scores"} for name in one},
    }


def test_the_folder_is_what_the_server_expects(exported):
    names = sorted(p.name for p in exported.parent.iterdir())
    assert names == ["1", "batching.config", "models.config"]
    assert 'name: "people"' in (exported.parent / "models.config").read_text()
    assert (exported / "assets" / "a.txt").read_text() == "x\ny\nz\n"
    stored = sum(f.stat().st_size for f in (exported / "variables").iterdir())
    model = make_model()
    weights = 4 * (
        model.count_params()
        - sum(
            int(np.prod(v.shape))
            for v in model.non_trainable_variables
            if "seed" in v.path
        )
    )
    # Once: folded memory takes twice the memory's room, an index a little more.
    memory = sum(
        4 * int(np.prod(task.memory.memory.shape))
        for task in model.task_layers.values()
    )
    assert weights <= stored <= weights + memory + 30_000


WARM_UP = """
import sys
import grpc
import numpy as np
import tensorflow as tf
from serving_process import ServedModel, grpc_server
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

folder = sys.argv[1]
model = ServedModel(folder)
server, address = grpc_server(model)
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))
replayed = []
path = f"{folder}/assets.extra/tf_serving_warmup_requests"
for record in tf.compat.v1.io.tf_record_iterator(path):
    log = prediction_log_pb2.PredictionLog.FromString(record)
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request
    assert request.model_spec.name == "people"
    if kind == "predict_log":
        outputs = stub.Predict(request).outputs
        assert all(v.tensor_shape.dim[0].size == 1 for v in outputs.values())
    else:
        classes = stub.Classify(request).result.classifications[0].classes
        np.testing.assert_allclose(sum(c.score for c in classes), 1, atol=1e-5)
    replayed.append(request.model_spec.signature_name)
    last = request
request.Clear()
server.stop(None)
print(sorted(replayed) == sorted(n for n in model.signatures if n[:2] != "__"))
"""


@on_tensorflow
def test_warm_up_requests_replay_over_grpc(exported):
    assert run_python(WARM_UP, "tensorflow", exported).split()[-1] == "True"


CORRUPT = """
import sys
import numpy as np
import tensorflow as tf
from serving_process import ServedModel

model = ServedModel(sys.argv[1])
good = open(sys.argv[2], "rb").read()
jpeg = open(sys.argv[3], "rb").read()
for batch in ([good, good[:60], jpeg, jpeg[: len(jpeg) // 2]], [b""], [b"GIF89", good]):
    try:
        model.run("a_bytes", {"image_bytes": batch})
    except tf.errors.InvalidArgumentError as error:
        print(error.message.replace("\\n", " "))
print(model.run("a_bytes", {"image_bytes": [good, jpeg]})["a/logits"].shape)
"""


@on_tensorflow
def test_a_corrupt_image_is_an_error_that_says_which(exported, many_images, tmp_path):
    (tmp_path / "good.png").write_bytes(encode(many_images[0]))
    (tmp_path / "good.jpg").write_bytes(encode(many_images[1], "JPEG"))
    printed = run_python(
        CORRUPT, "tensorflow", exported, tmp_path / "good.png", tmp_path / "good.jpg"
    )
    message = r"must hold whole JPEG or PNG images.*at the positions\] (\[.*?\])"
    assert re.findall(message, printed) == ["[1 3]", "[0]", "[0]"]
    assert printed.split("\n")[-2] == "(2, 3)"


RUN_BYTES = """
import sys
import numpy as np
from serving_process import ServedModel

encoded = [open(path, "rb").read() for path in sys.argv[3:]]
logits = ServedModel(sys.argv[1]).run("a_bytes", {"image_bytes": encoded})["a/logits"]
np.save(sys.argv[2], logits)
"""


@on_tensorflow
def test_images_of_other_kinds_and_sizes_are_decoded(model, exported, tmp_path):
    """Grey, palette, alpha and large images, against Pillow's decoding."""
    rng = np.random.default_rng(4)
    large = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype="uint8"))
    large = large.resize((480, 320), Image.BICUBIC)
    kinds = {
        "grey.png": large.convert("L"),
        "palette.png": large.convert("P"),
        "alpha.png": large.convert("RGBA"),
        "colour.jpg": large,
        "grey.jpg": large.convert("L"),
        "small.png": large.resize((10, 12)),
    }
    pixels = []
    for name, image in kinds.items():
        image.save(tmp_path / name)
        array = np.asarray(Image.open(tmp_path / name).convert("RGB"), "float32")
        pixels.append(
            keras.ops.convert_to_numpy(
                keras.ops.image.resize(array, (32, 48), antialias=True)
            )
        )
    run_python(
        RUN_BYTES,
        "tensorflow",
        exported,
        tmp_path / "logits.npy",
        *(tmp_path / name for name in kinds),
    )
    logits = np.load(tmp_path / "logits.npy")
    expected = model.predict(np.stack(pixels), verbose=0)["a"]
    np.testing.assert_allclose(logits, expected, atol=2e-2)


@on_tensorflow
def test_saved_model_cli_shows_and_runs(exported, many_images, tmp_path):
    np.save(tmp_path / "images.npy", many_images[:2].astype("float32"))
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    shown = subprocess.run(
        [*cli, "show", "--dir", exported, "--all"], capture_output=True, text=True
    )
    assert "signature_def['serving_default']" in shown.stdout, shown.stderr
    assert "outputs['b/probabilities'] tensor_info" in shown.stdout
    assert "Method name is: tensorflow/serving/classify" in shown.stdout
    ran = subprocess.run(
        [
            *cli,
            "run",
            "--dir",
            exported,
            "--tag_set",
            "serve",
            "--signature_def",
            "b",
            "--inputs",
            f"images={tmp_path / 'images.npy'}",
        ],
        capture_output=True,
        text=True,
    )
    assert "Result for output key b/logits" in ran.stdout, ran.stderr


COUNT = """
import sys
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as freeze)

loaded = tf.saved_model.load(sys.argv[1])
for name in ("serving_default", "t0", "last"):
    signature = loaded.signatures[name]
    fixed = tf.function(lambda images: signature(images=images)).get_concrete_function(
        tf.TensorSpec((1, 32, 48, 3)))
    inlined = freeze(fixed).graph.as_graph_def()
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(inlined)
        options = tf.compat.v1.profiler.ProfileOptionBuilder(
            tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        ).with_empty_output().build()
        flops = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    print(flops.total_float_ops)
"""


@on_tensorflow
def test_a_tasks_signature_computes_only_what_it_needs(tmp_path):
    """Counted floating-point operations: one task, and one that sees another."""
    specs = [
        *(TaskSpec(f"t{i}", 2) for i in range(20)),
        TaskSpec("last", 2, sees=["t0"]),
    ]
    model = keras_memvit.build(make_backbone(), specs)
    folder = keras_memvit.export_saved_model(
        model, tmp_path / "many", image_bytes=False
    )
    assert folder == tmp_path / "many" / "1"
    printed = run_python(COUNT, "tensorflow", folder).split()[-3:]
    everything, one, seeing = map(int, printed)
    block = 2 * (4 * 32 * 32 + 2 * 32 * 64)  # FLOPs of one token through a block
    assert everything - one > 2 * 19 * block
    assert 2 * block < seeing - one < 2 * 2.5 * block
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    assert size < 4 * model.count_params() + 3_000_000
