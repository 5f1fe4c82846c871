"""Pillow's bilinear resizing with antialiasing, bit for bit, in a TensorFlow graph.

Pixels times weights of 22 binary digits, summed in integers, rounded to uint8 after
the horizontal pass and again after the vertical one.
"""

import tensorflow as tf

from keras_memvit.data.crops import ROOM

DIGITS = 22
STRIP = 1 << 20  # pixels that the horizontal pass takes at a time


def resize(image, size, convert):
    """Resizes an image, whose pixels are converted strip by strip.

    First across and then down; the other way round as `data.crops.resize` does.

    Args:
        image: uint8 `(h, w, channels)`.
        size: `(height, width)`.
        convert: function from `(rows, w, channels)` to uint8 `(rows, w, 3)`.

    Returns:
        uint8 `(height, width, 3)`.
    """
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    other = tf.maximum(height, size[0]) * width
    return tf.cond(
        height * size[1] > tf.maximum(other, ROOM),
        lambda: _turned(_across_first(_turned(image), size[::-1], convert)),
        lambda: _across_first(image, size, convert),
    )


def _turned(image):
    return tf.transpose(image, (1, 0, 2))


def _across_first(image, size, convert):
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    across, down = _weights(width, size[1]), _weights(height, size[0])
    rows = tf.maximum(STRIP // tf.maximum(width, size[1]), 1)
    count = (height + rows - 1) // rows
    strips = tf.TensorArray(
        tf.uint8, count, element_shape=(None, 3 * size[1]), infer_shape=False
    )

    def shrink(i, strips):
        strip = convert(image[i * rows : (i + 1) * rows])
        # Turned as bytes: a quarter of the memory that whole numbers take.
        columns = tf.reshape(_turned(strip), (width, -1))  # (w, rows*3)
        columns = tf.reshape(_apply(across, columns), (size[1], -1, 3))
        strip = tf.reshape(_turned(columns), (-1, 3 * size[1]))
        return i + 1, strips.write(i, strip)

    _, strips = tf.while_loop(
        lambda i, _: i < count, shrink, (0, strips), parallel_iterations=1
    )
    lines = strips.concat()  # (h, width * 3)
    return tf.reshape(_apply(down, lines), (*size, 3))


def _apply(weights, values):
    """Weighted sums of rows, uint8, rounded."""
    values = tf.cast(values, tf.int32)
    sums = tf.sparse.sparse_dense_matmul(weights, values) + (1 << (DIGITS - 1))
    whole = tf.bitwise.right_shift(sums, DIGITS)
    return tf.cast(tf.clip_by_value(whole, 0, 255), tf.uint8)


def _weights(size, wanted):
    """A sparse int32 matrix `(wanted, size)`; its rows sum to 2 ** DIGITS."""
    scale = tf.cast(size, tf.float64) / wanted
    support = tf.maximum(scale, 1.0)
    centers = (tf.range(wanted, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centers - support + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centers + support + 0.5, tf.int32), size)
    taps = tf.cast(tf.math.ceil(support), tf.int32) * 2 + 1
    places = first[:, None] + tf.range(taps)  # (wanted, taps)
    distances = tf.cast(places, tf.float64) - centers[:, None] + 0.5
    values = tf.maximum(1.0 - tf.abs(distances * (1.0 / support)), 0.0)
    values = tf.where(places < end[:, None], values, 0.0)
    values /= tf.reduce_sum(values, axis=1, keepdims=True)
    values = tf.cast(values * (1 << DIGITS) + 0.5, tf.int32)
    used = tf.where(places < end[:, None])  # (n, 2): row, tap
    columns = tf.cast(tf.gather_nd(places, used), tf.int64)
    shape = tf.cast(tf.stack([wanted, size]), tf.int64)
    indices = tf.stack([used[:, 0], columns], axis=1)
    return tf.SparseTensor(indices, tf.gather_nd(values, used), shape)
