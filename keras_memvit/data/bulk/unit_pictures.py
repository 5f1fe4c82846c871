"""The pictures of a unit: their names, and files or bytes to decode."""

import io

from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import UnreadableImage

PARQUET_COLUMN, TFRECORD_FEATURE = "image", "image/encoded"
ROWS = 32  # of a Parquet file, in memory at one time


def pictures_of(unit, image_column=None, key_column=None):
    """`(name, read)` of each picture, in order.

    `read()` is a path or a binary file, or raises an `UnreadableImage`.

    Args:
        unit: a dict, see `units`.
        image_column: name of the column or feature of encoded images, or None for
            `"image"` in Parquet and `"image/encoded"` in TFRecords.
        key_column: optional name of one that names images; `file#row` without it.
    """
    if "files" in unit:
        for file in unit["files"]:
            yield printable(file), lambda file=file: file
        return
    if "parquet" in unit:
        path, number = unit["parquet"], unit["start"]
        found = _parquet(unit, image_column or PARQUET_COLUMN, key_column)
    else:
        path, number = unit["tfrecord"], 0
        found = _tfrecord(path, image_column or TFRECORD_FEATURE, key_column)
    path = printable(path)
    while True:
        try:
            key, data = next(found)
        except StopIteration:
            return
        except ImportError:
            raise
        except Exception as error:  # Arrow, Protobuf and TensorFlow have their own
            reason = f"the rest cannot be read: {type(error).__name__}: {error}"
            yield f"{path}#{number}", lambda reason=reason: _refuse(reason)
            return
        key = f"{path}#{number}" if key is None else _text(key)
        yield key, lambda data=data: _file(data)
        number += 1


def _parquet(unit, image_column, key_column):
    from pyarrow import parquet

    columns = [image_column] + [key_column] * (key_column is not None)
    with parquet.ParquetFile(unit["parquet"]) as file:
        options = {"columns": columns, "row_groups": unit["row_groups"]}
        for batch in file.iter_batches(ROWS, **options):
            for row in batch.to_pylist():
                yield row.get(key_column), row[image_column]


def _tfrecord(path, image_feature, key_feature):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "TFRecords need TensorFlow: pip install tensorflow"
        ) from error
    kind = {"gz": "GZIP", "gzip": "GZIP"}.get(path.rpartition(".")[2], "")
    for record in tf.data.TFRecordDataset(path, kind).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        image = features[image_feature].bytes_list.value
        key = features[key_feature].bytes_list.value if key_feature else ()
        yield next(iter(key), None), next(iter(image), None)


def _file(data):
    """Encoded bytes as a binary file; Hugging Face's columns hold dicts of them."""
    data = data.get("bytes") if isinstance(data, dict) else data
    if not isinstance(data, bytes):
        _refuse("no encoded image is there")
    return io.BytesIO(data)


def _text(key):
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _refuse(reason):
    raise UnreadableImage(reason)
