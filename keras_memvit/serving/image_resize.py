"""Pillow's resizing with antialiasing, bit for bit, in a TensorFlow graph.

Pixels times weights of 22 binary digits, summed in integers, rounded to uint8 after
the horizontal pass and again after the vertical one.
"""

import tensorflow as tf

from keras_memvit.data.crops import ROOM
from keras_memvit.tasks.resizing import CROP
from keras_memvit.tasks.resizing import interpolation_of

DIGITS = 22
STRIP = 1 << 20  # pixels that the horizontal pass takes at a time


def resize(image, size, resizing, convert):
    """Resizes an image, whose pixels are converted strip by strip.

    First across and then down; the other way round as `data.crops.resize` does.

    Args:
        image: uint8 `(h, w, channels)`.
        size: `(height, width)`.
        resizing: one of `RESIZINGS`.
        convert: function from `(rows, w, channels)` to uint8 `(rows, w, 3)`.

    Returns:
        uint8 `(height, width, 3)`.
    """
    if resizing.endswith(CROP):
        image = _kept(image, size)
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    kernel = KERNELS[interpolation_of(resizing)]
    other = tf.maximum(height, size[0]) * width
    return tf.cond(
        height * size[1] > tf.maximum(other, ROOM),
        lambda: _turned(_across_first(_turned(image), size[::-1], kernel, convert)),
        lambda: _across_first(image, size, kernel, convert),
    )


def _kept(image, size):
    """`kept_part` of an image, of sides that the graph does not know yet."""
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    kept_height = tf.maximum(tf.minimum(height, width * size[0] // size[1]), 1)
    kept_width = tf.maximum(tf.minimum(width, height * size[1] // size[0]), 1)
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[top : top + kept_height, left : left + kept_width]


def _turned(image):
    return tf.transpose(image, (1, 0, 2))


def _across_first(image, size, kernel, convert):
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    across, down = (
        _weights(own, wanted, *kernel)
        for own, wanted in ((width, size[1]), (height, size[0]))
    )
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


def _triangle(x):
    return tf.maximum(1.0 - x, 0.0)


def _cubic(x):
    """Keys' cubic with a = -0.5."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0)
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


# By interpolation: a function of the distance, and up to where it is not zero.
KERNELS = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}


def _weights(size, wanted, kernel, reach):
    """A sparse int32 matrix `(wanted, size)`; its rows sum to 2 ** DIGITS."""
    scale = tf.cast(size, tf.float64) / wanted
    stretch = tf.maximum(scale, 1.0)
    support = reach * stretch
    centers = (tf.range(wanted, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centers - support + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centers + support + 0.5, tf.int32), size)
    taps = tf.cast(tf.math.ceil(support), tf.int32) * 2 + 1
    places = first[:, None] + tf.range(taps)  # (wanted, taps)
    distances = tf.cast(places, tf.float64) - centers[:, None] + 0.5
    values = kernel(tf.abs(distances * (1.0 / stretch)))
    values = tf.where(places < end[:, None], values, 0.0)
    values /= tf.reduce_sum(values, axis=1, keepdims=True)
    values = tf.cast(values * (1 << DIGITS) + 0.5 * tf.sign(values), tf.int32)
    used = tf.where(places < end[:, None])  # (n, 2): row, tap
    columns = tf.cast(tf.gather_nd(places, used), tf.int64)
    shape = tf.cast(tf.stack([wanted, size]), tf.int64)
    indices = tf.stack([used[:, 0], columns], axis=1)
    return tf.SparseTensor(indices, tf.gather_nd(values, used), shape)
