"""Encoded images: the served graph, `data.load` and Pillow see the same pixels."""

import io
import struct
import time

import keras
import numpy as np
import pytest
from conftest import make_backbone
from photos import photos
from photos import png
from PIL import Image

import keras_memvit
from keras_memvit.data.crops import resize
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image
from keras_memvit.tasks.resizing import RESIZINGS

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the graph is TensorFlow's from every backend: tested there",
)
SIZE = (32, 48)


@pytest.fixture(scope="module")
def decode():
    return decoder()


def decoder(*resizing):
    import tensorflow as tf

    from keras_memvit.serving.images import decode_images

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def graph(image_bytes):
        return decode_images(image_bytes, (*SIZE, 3), 50_000_000, *resizing)

    return lambda encoded: graph(tf.constant(encoded, tf.string)).numpy()


@pytest.fixture(scope="module")
def model():
    return keras_memvit.build(make_backbone(), {"a": 5})


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """The signature `a_bytes` of an export that refuses over 20,000 pixels."""
    import tensorflow as tf

    folder = keras_memvit.export_saved_model(
        model,
        tmp_path_factory.mktemp("served") / "1",
        signatures=["serving_default", "a_bytes"],
        warmup=False,
        max_pixels=20_000,
    )
    loaded = tf.saved_model.load(str(folder))
    return lambda encoded: loaded.signatures["a_bytes"](
        image_bytes=tf.constant(encoded, tf.string)
    )["a/logits"].numpy()


def read(encoded, *resizing):
    return resize(read_image(io.BytesIO(encoded)), SIZE, *resizing)


def test_the_graph_decodes_what_data_load_reads_bit_for_bit(decode):
    encoded = [content for _, content in photos(200)]
    expected = np.stack([read(content) for content in encoded])
    np.testing.assert_array_equal(decode(encoded), expected)
    assert decode([]).shape == (0, *SIZE, 3)


@pytest.mark.parametrize("resizing", RESIZINGS[1:])
def test_every_resizing_is_that_of_data_load_bit_for_bit(resizing):
    encoded = [content for _, content in photos(60)]
    encoded += [content for _, content in photos(2, largest=2400, seed=3)]
    rng = np.random.default_rng(0)
    for shape in ((400_000, 1, 3), (2, 9000, 3)):
        file = io.BytesIO()
        pixels = rng.integers(0, 256, shape, dtype="uint8")
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        encoded.append(file.getvalue())
    expected = np.stack([read(content, resizing) for content in encoded])
    np.testing.assert_array_equal(decoder(resizing)(encoded), expected)
    assert (expected != np.stack([read(content) for content in encoded])).any()


def test_large_photos_are_resized_in_strips_bit_for_bit(decode):
    encoded = [content for _, content in photos(4, largest=2400, seed=3)]
    tall = np.random.default_rng(0).integers(0, 256, (3000, 900, 3), dtype="uint8")
    file = io.BytesIO()
    Image.fromarray(tall).save(file, "PNG", compress_level=1)
    encoded.append(file.getvalue())
    np.testing.assert_array_equal(decode(encoded), [read(e) for e in encoded])


def test_a_narrow_image_of_great_height_is_resized_down_first(decode):
    rng = np.random.default_rng(0)
    for shape in ((400_000, 1, 3), (200_000, 3, 3)):  # 48 across: 19 and 10 million
        file = io.BytesIO()
        pixels = rng.integers(0, 256, shape, dtype="uint8")
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        data = file.getvalue()
        np.testing.assert_array_equal(decode([data])[0], read(data))


def test_an_image_of_too_long_a_side_is_refused(decode):
    import tensorflow as tf

    for shape in ((1_000_001, 1, 1), (1, 1_000_001, 1)):
        data = png(np.zeros(shape, "uint8"), 8)
        with pytest.raises(tf.errors.InvalidArgumentError, match="sides to 1000000"):
            decode([data])
        with pytest.raises(UnreadableImage, match="1000001"):
            read(data)


def test_the_same_bytes_give_the_same_answer_loaded_and_served(model, served, tmp_path):
    examples = photos(200)
    for i, (name, content) in enumerate(examples):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i:03d}{name}").write_bytes(content)
    found = keras_memvit.data.load(tmp_path, image_size=SIZE, augment=None)
    for part in (found.train.ordered(), found.validation):
        logits = model.predict(part, verbose=0)["a"]
        encoded = [read.path.read_bytes() for read, _ in part.examples]
        answers = served(encoded)
        np.testing.assert_allclose(answers, logits, atol=1e-4)
        np.testing.assert_array_equal(answers.argmax(-1), logits.argmax(-1))


def exif_photo(exif, kind="JPEG"):
    image = np.zeros((40, 24, 3), "uint8")
    image[:10] = 255
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, exif=exif, quality=95)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File")  # Pillow's
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_of_every_byte_order_and_type_or_damaged(kind, decode):
    def header(order, kind, value):
        mark = {"<": b"II", ">": b"MM"}[order]
        entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + value.ljust(4, b"\0")
        start = mark + struct.pack(f"{order}HI", 42, 8)
        return b"Exif\0\0" + start + struct.pack(f"{order}H", 1) + entry + bytes(4)

    encoded = [
        exif_photo(header(order, type_, struct.pack(f"{order}{code}", value)), kind)
        for order in "<>"
        for type_, code in ((1, "B"), (3, "H"), (4, "I"))  # BYTE, SHORT, LONG
        for value in (0, 1, 6, 8, 9)
    ]
    whole = header(">", 3, struct.pack(">H", 6))
    encoded += [exif_photo(whole[:n], kind) for n in range(7, 17)]
    np.testing.assert_array_equal(decode(encoded), [read(e) for e in encoded])
    # As a person sees it: white at the left or right after a turn.
    turned = exif_photo(whole, kind)
    assert decode([turned])[0, :, -5:].min() > 200 > decode([turned])[0, :, :20].max()


def huge_png(side):
    """The header of a square PNG, and its first rows."""
    content = png(np.zeros((1, 1, 1)), 8)
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    import zlib

    header += struct.pack(">I", zlib.crc32(header))
    return content[:12] + header + content[33:]


def huge_jpeg(side):
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", side, side)
    return bytes(content)


def test_an_image_of_too_many_pixels_is_refused_by_its_header(decode):
    import tensorflow as tf

    good = [content for _, content in photos(2)]
    for huge in (huge_png(23_000), huge_jpeg(23_000), huge_png(900_000)):
        start = time.perf_counter()
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 50000000"):
            decode([good[0], huge, good[1]])
        assert time.perf_counter() - start < 1.0
    assert decode(good).shape == (2, *SIZE, 3)


def test_the_limit_of_pixels_is_an_option_of_the_export(model, served, tmp_path):
    import tensorflow as tf

    ok, large = (png(np.zeros((100, side, 1)), 8) for side in (200, 201))
    assert served([ok] * 3).shape == (3, 5)  # together more: one after the other
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"(?s)at most 20000.*\[1\]"
    ):
        served([ok, large])
    with pytest.raises(ValueError, match="`max_pixels` must be.*Received: max_pix.*0"):
        keras_memvit.export_saved_model(model, tmp_path / "1", max_pixels=0)


def test_other_formats_are_refused(decode):
    import tensorflow as tf

    for kind in ("GIF", "BMP", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (9, 9)).save(file, kind)
        with pytest.raises(tf.errors.InvalidArgumentError, match="whole JPEG or PNG"):
            decode([file.getvalue()])


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.large)])
def test_damaged_files_are_refused_or_read_alike(count, decode):
    import tensorflow as tf

    rng = np.random.default_rng(1)
    counts = {"alike": 0, "refused": 0, "refused by Pillow": 0, "other": 0}
    for _, content in photos(count, largest=40, seed=2):
        damaged = bytearray(content)
        damaged[int(rng.integers(0, min(len(content), 400)))] = int(rng.integers(256))
        try:
            found = decode([bytes(damaged)])[0]
        except tf.errors.InvalidArgumentError:
            counts["refused"] += 1
            continue
        try:
            alike = np.array_equal(found, read(bytes(damaged)))
        except UnreadableImage:
            counts["refused by Pillow"] += 1
        else:
            counts["alike" if alike else "other"] += 1
    print(counts)
    assert counts["other"] <= 0.01 * count
