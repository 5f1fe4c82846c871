"""Encoded images to pixels, inside a TensorFlow graph."""

import tensorflow as tf

from keras_memvit.data.pictures import MAX_SIDE
from keras_memvit.serving.image_headers import has_alpha
from keras_memvit.serving.image_headers import is_png
from keras_memvit.serving.image_headers import num_pixels
from keras_memvit.serving.image_headers import orientation
from keras_memvit.serving.image_resize import resize
from keras_memvit.tasks.resizing import DEFAULT


def decode_images(image_bytes, image_shape, max_pixels, resizing=DEFAULT):
    """Decodes and resizes, as `data.load` does; names the images that it cannot.

    Turned as their EXIF says; transparent pixels are white; 16-bit values keep
    their high byte. Resized with antialiasing to the model's size.

    Args:
        image_bytes: strings `(B,)`, JPEG or PNG.
        image_shape: `(height, width, 3)`.
        max_pixels: int. Images of more, by their headers, are not decoded. If all
            of a batch have more together, they are decoded one after the other.
        resizing: str, as of `data.load`.

    Returns:
        float32 `(B, height, width, 3)` in [0, 255], whole numbers.
    """
    count = tf.size(image_bytes, out_type=tf.int64)
    data = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))

    def measure(position, encoded):
        return position, num_pixels(encoded)

    sizes = tf.scatter_nd(*_survivors(data, measure, (), tf.int64, 1), count[None])
    message = f"hold images of at most {max_pixels} pixels. Larger are"
    with tf.control_dependencies([_require(sizes <= max_pixels, message)]):
        alone = tf.reduce_sum(sizes) > max_pixels
        parallel = tf.where(alone, tf.constant(1, tf.int64), tf.data.AUTOTUNE)

    def decode(position, encoded, size):
        # TensorFlow's decoders would take other formats, whatever their size.
        with tf.control_dependencies([tf.debugging.assert_positive(size)]):
            encoded = tf.identity(encoded)
        image = _turned(_decoded(encoded), orientation(encoded))
        longest = tf.reduce_max(tf.shape(image))
        with tf.control_dependencies([tf.debugging.assert_less(longest, MAX_SIDE + 1)]):
            image = tf.identity(image)
        pixels = resize(image, image_shape[:2], resizing, _over_white)
        return position, tf.ensure_shape(tf.cast(pixels, tf.float32), image_shape)

    data = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes, sizes))
    positions, images = _survivors(data, decode, image_shape, tf.float32, parallel)
    present = tf.scatter_nd(positions, tf.ones_like(positions[:, 0]), count[None])
    message = f"hold whole JPEG or PNG images, sides to {MAX_SIDE}. Cannot decode"
    with tf.control_dependencies([_require(present > 0, message)]):
        return tf.ensure_shape(tf.identity(images), (None, *image_shape))


def _survivors(data, function, shape, dtype, parallel):
    """Positions `(n, 1)` and results where a function met no error."""
    # A data set, because only there a graph survives an image that is corrupt;
    # the element after the last image keeps it from ever being empty.
    end = tf.data.Dataset.from_tensors(
        (tf.constant(-1, tf.int64), tf.zeros(shape, dtype))
    )
    function = tf.autograph.experimental.do_not_convert(function)
    data = data.map(function, num_parallel_calls=parallel, deterministic=True)
    data = data.ignore_errors().concatenate(end)
    positions, results = data.batch(1 << 31).get_single_element()
    return positions[:-1, None], results[:-1]


def _require(good, message):
    wrong = tf.where(~good)[:, 0]
    message = f"`image_bytes` must {message} those at the positions"
    return tf.debugging.Assert(tf.size(wrong) == 0, [message, wrong], summarize=16)


def _decoded(encoded):
    """uint8 `(h, w, 4)` where there is transparency, `(h, w, 3)` elsewhere."""
    return tf.cond(
        is_png(encoded),
        lambda: tf.cond(
            has_alpha(encoded),
            lambda: tf.io.decode_png(encoded, channels=4),
            lambda: tf.io.decode_png(encoded, channels=3),
        ),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
    )


def _turned(image, orientation):
    """Pixels as their EXIF orientation means them."""

    def among(*values):
        return tf.reduce_any(orientation == tf.constant(values, tf.int64))

    for condition, turn in (
        (among(5, 6, 7, 8), lambda x: tf.transpose(x, (1, 0, 2))),
        (among(3, 4, 7, 8), lambda x: tf.reverse(x, [0])),
        (among(2, 3, 6, 7), lambda x: tf.reverse(x, [1])),
    ):
        image = tf.cond(condition, lambda x=image, f=turn: f(x), lambda x=image: x)
    return image


def _over_white(pixels):
    """uint8 `(..., 3)`: `color * alpha + white * (1 - alpha)`, rounded."""

    def compose():
        values = tf.cast(pixels, tf.int32)
        colors, alpha = values[..., :3], values[..., 3:]
        return tf.cast((colors * alpha + (255 - alpha) * 255 + 127) // 255, tf.uint8)

    has_alpha = tf.shape(pixels)[-1] == 4
    return tf.ensure_shape(tf.cond(has_alpha, compose, lambda: pixels), (None, None, 3))
