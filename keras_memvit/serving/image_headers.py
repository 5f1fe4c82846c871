"""What JPEG and PNG files say of themselves, read by TensorFlow string operations."""

import tensorflow as tf

PNG = b"\x89PNG\r\n\x1a\n"
MAX_PARTS = 20_000  # segments or chunks that are looked at
ORIENTATION = 0x0112  # the EXIF tag
BYTES_OF_TYPE = {3: 2, 4: 4}  # SHORT, LONG


def is_png(encoded):
    """Whether a string begins as a PNG file does."""
    return tf.strings.substr(encoded, 0, len(PNG)) == PNG


def num_pixels(encoded):
    """int64: height times width; an error where it is neither JPEG nor PNG."""
    size = tf.cond(
        is_png(encoded),
        lambda: tf.stack([_number(_bytes(encoded, p, 4)) for p in (20, 16)]),
        lambda: tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64),
    )
    with tf.control_dependencies([tf.debugging.assert_positive(size)]):
        return tf.reduce_prod(size)


def has_alpha(encoded):
    """Whether a PNG file has an alpha channel or transparent values.

    TensorFlow decodes an alpha channel that is not there wrongly, where values
    have less than 8 bits.
    """
    color_type = _bytes(encoded, 25, 1)[0]
    in_chunk = _png_chunk(encoded, b"tRNS", before=b"IDAT") != b""
    return (color_type == 4) | (color_type == 6) | in_chunk


def orientation(encoded):
    """int64: the EXIF orientation, 1 to 8, and 1 where there is none."""
    exif = tf.cond(
        is_png(encoded),
        lambda: _png_chunk(encoded, b"eXIf"),
        lambda: _jpeg_exif(encoded),
    )
    found = tf.cond(exif == b"", lambda: tf.constant(1, tf.int64), lambda: _tag(exif))
    return tf.where((found >= 1) & (found <= 8), found, tf.ones_like(found))


def _jpeg_exif(encoded):
    """The first EXIF segment before the pixels, without its name."""
    size = tf.cast(tf.strings.length(encoded), tf.int64)

    def is_before_pixels(position, exif):
        head = _bytes(encoded, position, 2)
        is_marker = (head[0] == 0xFF) & (head[1] != 0xDA) & (head[1] != 0xD9)
        return (exif == b"") & is_marker & (position < size)

    def read(position, exif):
        head = _bytes(encoded, position, 10)
        length = _number(head[2:4])
        is_exif = (head[1] == 0xE1) & tf.reduce_all(
            head[4:] == tf.constant(list(b"Exif\0\0"), tf.int64)
        )
        exif = tf.cond(
            is_exif, lambda: _part(encoded, position + 10, length - 8), lambda: exif
        )
        is_filling = head[1] == 0xFF
        return position + tf.where(is_filling, tf.ones_like(length), 2 + length), exif

    return _walk(is_before_pixels, read, 2)


def _png_chunk(encoded, wanted, before=b"IEND"):
    """The content of the first chunk of a name, empty where there is none."""
    size = tf.cast(tf.strings.length(encoded), tf.int64)

    def is_inside(position, found):
        return (found == b"") & (position < size)

    def read(position, found):
        length = _number(_bytes(encoded, position, 4))
        name = _part(encoded, position + 4, 4)
        found = tf.cond(
            name == wanted,
            lambda: _part(encoded, position + 8, length),
            lambda: found,
        )
        return tf.where(name == before, size, position + 12 + length), found

    return _walk(is_inside, read, len(PNG))


def _walk(condition, body, start):
    state = (tf.constant(start, tf.int64), tf.constant(b""))
    return tf.while_loop(condition, body, state, maximum_iterations=MAX_PARTS)[1]


def _tag(exif):
    """The orientation in the first directory of a TIFF header; 0 if there is none."""
    little = tf.strings.substr(exif, 0, 2) == b"II"
    first = _number(_bytes(exif, 4, 4), little)
    count = _number(_bytes(exif, first, 2), little)
    entries = tf.strings.substr(_part(exif, first + 2, 12 * count), 0, 12 * MAX_PARTS)
    count = tf.cast(tf.strings.length(entries), tf.int64) // 12
    entries = tf.reshape(_bytes(entries, 0, 12 * count), (-1, 12))
    tags = _number(entries[:, :2], little)
    kinds = _number(entries[:, 2:4], little)
    values = tf.zeros_like(tags)
    for kind, size in BYTES_OF_TYPE.items():
        value = _number(entries[:, 8 : 8 + size], little)
        values = tf.where(kinds == kind, value, values)
    found = tf.boolean_mask(values, tags == ORIENTATION)
    return tf.reduce_sum(found[-1:])  # the last, as Pillow


def _part(encoded, start, length):
    """A substring, shorter or empty where the string ends before."""
    size = tf.cast(tf.strings.length(encoded), tf.int64)
    start = tf.cast(start, tf.int64)
    return tf.strings.substr(
        encoded,
        tf.clip_by_value(start, 0, size),
        tf.maximum(tf.cast(length, tf.int64), 0),
    )


def _bytes(encoded, start, length):
    """int64 `(length,)`; zeros beyond the end of the string."""
    part = _part(encoded, start, length)
    length = tf.cast(length, tf.int32)
    raw = tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int64)
    padded = tf.pad(raw, [[0, length - tf.size(raw)]])
    return tf.reshape(padded, (length,))


def _number(digits, little=False):
    """Bytes `(..., n)` as int64, in either order."""
    digits = tf.where(little, tf.reverse(digits, [-1]), digits)
    number = tf.zeros_like(digits[..., 0])
    for k in range(digits.shape[-1]):
        number = number * 256 + digits[..., k]
    return number
