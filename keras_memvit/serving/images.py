"""Encoded images to pixels, inside a TensorFlow graph."""

import tensorflow as tf


def decode_images(image_bytes, image_shape):
    """Decodes and resizes; names the images that cannot be decoded.

    JPEG as Pillow decodes it, PNG as 8-bit RGB; an EXIF rotation is ignored.
    Resized bilinearly, with antialiasing, to the model's size.

    Args:
        image_bytes: strings `(B,)`, JPEG or PNG.
        image_shape: `(height, width, 3)`.

    Returns:
        float32 `(B, height, width, 3)` in [0, 255].
    """
    count = tf.size(image_bytes, out_type=tf.int64)

    def decode(position, encoded):
        image = tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.io.decode_jpeg(
                encoded, channels=3, dct_method="INTEGER_ACCURATE"
            ),
            lambda: tf.io.decode_png(encoded, channels=3),
        )
        image = tf.image.resize(image, image_shape[:2], antialias=True)
        return position, tf.ensure_shape(image, image_shape)

    # A data set, because only there a graph survives an image that is corrupt;
    # the element after the last image keeps it from ever being empty.
    data = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    end = tf.data.Dataset.from_tensors((count, tf.zeros(image_shape)))
    data = data.ignore_errors().concatenate(end)
    positions, images = data.batch(count + 1).get_single_element()
    positions, images = positions[:-1], images[:-1]
    present = tf.scatter_nd(
        positions[:, None], tf.ones_like(positions), tf.reshape(count, (1,))
    )
    corrupt = tf.where(present == 0)[:, 0]
    check = tf.debugging.Assert(
        tf.size(corrupt) == 0,
        [
            "`image_bytes` must hold whole JPEG or PNG images. "
            "Cannot decode those at the positions",
            corrupt,
        ],
        summarize=16,
    )
    with tf.control_dependencies([check]):
        return tf.ensure_shape(tf.identity(images), (None, *image_shape))
